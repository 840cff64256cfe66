"""Runs: how many a second from the first submit to the last durable end, and how soon one is seen; beside the peers.

``cases`` names what is measured; ``throughput`` and ``latency`` measure it, and ``rows`` says what they have seen. ``system`` is
what all systems have in common, ``holdfast`` and ``peer`` (which drives the programs in ``bench.peers``) are the systems.
``submitters`` and ``one_by_one`` are clients, processes of their own with bare connections (``connection``). ``noop`` is the
agent; ``alone`` is for a profile of Holdfast without the peers.
"""
