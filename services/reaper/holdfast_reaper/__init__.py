"""The reaper: notices dead runners and gives their runs to the living, and restores what got lost on the way.

``detector`` (with ``evidence``, ``roster``, ``sight``) decides who is dead, purely. ``senses``, ``watching`` and ``probing``
feed it; ``judging`` and ``act`` do what follows from a death; ``sweeps`` look through the record; ``carrier`` holds the links
to NATS.
"""
