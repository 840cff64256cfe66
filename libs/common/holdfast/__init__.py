"""What every part of Holdfast shares.

``runs`` is the pure domain (no I/O, no clock), ``wire`` what travels between processes, ``store`` the record (Postgres),
``bus`` the carrier (NATS), ``settings``, ``logs``, ``metrics``, ``http`` and ``service`` what a process is made of.
"""

__version__ = "0.1.0"
