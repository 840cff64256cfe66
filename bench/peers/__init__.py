"""The peers: each a program in a virtual environment of their own (``.venv-bench``), as its own documentation recommends it.

``python -m bench.peers.with_<peer> prepare|work|submit DATABASE_URL [JOBS]``. ``prepare`` makes the schema, ``work`` is a worker
process until it is told to end, ``submit`` submits so many no-op jobs from the peer's own API and says when (``saying``).
Nothing here imports Holdfast: what drives these programs is ``bench.runs.peer``.
"""
