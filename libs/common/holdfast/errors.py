"""Holdfast's errors, one tree.

HoldfastError
├── Retryable                 may work if tried again
│   ├── StoreUnavailable      Postgres is away, frozen or refusing connections
│   └── BusUnavailable        NATS is away or has no leader
├── Terminal                  trying again gives the same
│   ├── Refused               the record says no (a guard, a constraint); `code` is stable
│   ├── NotFound              no such thing for this tenant
│   ├── Misconfigured         a server refuses what it was configured with: a password, a database, rights
│   ├── SchemaMismatch        the database's schema is not the one this code needs
│   ├── PodNameTaken          a live process holds this pod name
│   ├── AddressInUse          another process listens there
│   └── AgentFailed           an agent's run failed; `code` is what the client sees
└── LostOwnership             a fenced write matched no row: somebody else has the run. Never retried
"""

from __future__ import annotations


class HoldfastError(Exception):
    """The root of all errors that Holdfast raises on purpose."""


class Retryable(HoldfastError):
    """It may work if tried again."""


class StoreUnavailable(Retryable):
    """Postgres did not answer in time, or refused the connection."""


class BusUnavailable(Retryable):
    """NATS did not answer in time, or has no leader."""


class Terminal(HoldfastError):
    """Trying again gives the same."""


class Refused(Terminal):
    """A guard or a constraint of the record said no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NotFound(Terminal):
    """No such thing for this tenant."""

    def __init__(self, what: str, ident: str) -> None:
        super().__init__(f"no {what} {ident!r}")
        self.what = what
        self.ident = ident


class Misconfigured(Terminal):
    """A server refuses what this process was configured with: a password, a database's name, rights."""


class SchemaMismatch(Terminal):
    """The database's schema is not the one that this code needs."""


class PodNameTaken(Terminal):
    """A live process holds this pod name."""


class AddressInUse(Terminal):
    """Another process listens on the address."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is taken by another process: stop it, or choose another port")
        self.host = host
        self.port = port


class AgentFailed(Terminal):
    """An agent's run, or a step of it, failed for a reason with a stable code (``model_unavailable``, ``agent_error``, …).

    ``retryable`` says that the same step may work if tried again.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


class LostOwnership(HoldfastError):
    """A fenced write matched no row: somebody else has the run now. A normal outcome, never retried."""
