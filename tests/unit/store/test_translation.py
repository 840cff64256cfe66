"""The driver's errors are translated once: may it work later, was it refused, or is it a bug?"""

from __future__ import annotations

import asyncpg
import pytest
from asyncpg.exceptions._base import DataError as ArgumentError

from holdfast.errors import Refused, StoreUnavailable
from holdfast.store.database import translate


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.ConnectionFailureError("gone"),
        asyncpg.CannotConnectNowError("starting"),
        asyncpg.AdminShutdownError("stopping"),
        asyncpg.CrashShutdownError("crashed"),
        asyncpg.TooManyConnectionsError("full"),
        asyncpg.DiskFullError("full"),
        asyncpg.QueryCanceledError("late"),
        asyncpg.DeadlockDetectedError("broken here"),
        asyncpg.SerializationError("broken here"),
        asyncpg.ReadOnlySQLTransactionError("a standby by now"),
        asyncpg.InvalidCachedStatementError("migrated"),
        asyncpg.InterfaceError("connection is closed"),
        ConnectionResetError(),
        ConnectionRefusedError(),
        TimeoutError(),
        OSError("no route to host"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_work_later_is_unavailable(error: Exception) -> None:
    assert type(translate(error)) is StoreUnavailable


@pytest.mark.parametrize(
    "error",
    [
        ArgumentError("invalid input for query argument $1"),
        asyncpg.CharacterNotInRepertoireError("0x00"),
        asyncpg.UntranslatableCharacterError("\\u0000"),
        asyncpg.NumericValueOutOfRangeError("integer out of range"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_value_that_cannot_be_stored_is_refused(error: Exception) -> None:
    refused = translate(error)
    assert isinstance(refused, Refused)
    assert refused.code == "invalid_value"


def test_a_constraint_is_refused_by_its_name() -> None:
    error = asyncpg.UniqueViolationError("duplicate key")
    error.constraint_name = "runs_thread_active"
    refused = translate(error)
    assert isinstance(refused, Refused)
    assert refused.code == "runs_thread_active"
    unnamed = translate(asyncpg.NotNullViolationError("null value"))
    assert isinstance(unnamed, Refused)
    assert unnamed.code == "23502"


@pytest.mark.parametrize("error", [asyncpg.PostgresSyntaxError("at"), asyncpg.UndefinedColumnError("x"), KeyError("x")])
def test_a_bug_stays_visible(error: Exception) -> None:
    assert translate(error) is None
