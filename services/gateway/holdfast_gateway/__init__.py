"""The HTTP face of Holdfast: submits, lists, and the live streams of runs. It holds no state that another gateway needs."""
