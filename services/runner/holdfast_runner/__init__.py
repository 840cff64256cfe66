"""The runner: claims runs, runs their agents, journals what they do, and proves its ownership in every write."""
