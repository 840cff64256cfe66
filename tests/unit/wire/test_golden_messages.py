"""Messages of every version that was ever sent still parse. A golden file is never changed; a new version adds one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from holdfast.wire.messages import Control, Heartbeat, Message, RunRequest

_GOLDEN = Path(__file__).parent / "golden"
_KINDS: dict[str, type[Message]] = {"run_request": RunRequest, "control": Control, "heartbeat": Heartbeat}
_FILES = sorted(_GOLDEN.glob("*.json"))


def _read(path: Path) -> tuple[type[Message], dict[str, Any]]:
    return _KINDS[path.name.split(".")[0]], json.loads(path.read_text(encoding="utf-8"))


def test_every_message_has_a_golden_file() -> None:
    assert set(_KINDS.values()) == set(Message.__subclasses__())
    assert {path.name.split(".")[0] for path in _FILES} == set(_KINDS)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_golden_message_parses_and_loses_nothing(path: Path) -> None:
    kind, sent = _read(path)
    message = kind.model_validate_json(path.read_bytes())
    assert sent.items() <= message.model_dump(mode="json").items()
    assert kind.model_validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_what_a_newer_sender_adds_is_ignored(path: Path) -> None:
    kind, sent = _read(path)
    assert kind.model_validate(sent | {"added_later": {"any": "thing"}}) == kind.model_validate(sent)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_a_message_is_frozen(path: Path) -> None:
    kind, sent = _read(path)
    message = kind.model_validate(sent)
    with pytest.raises(ValidationError):
        setattr(message, next(iter(sent)), None)


def test_what_was_optional_in_the_first_version_stays_so() -> None:
    run_id, boot = "0192f0c1-5b7e-7c3a-9d54-1f2e3d4c5b6a", "3b241101-e2bb-4255-8caf-4136c566a962"
    RunRequest.model_validate({"run_id": run_id})
    Control.model_validate({"action": "cancel", "run_id": run_id, "attempt": 1})
    beat = {"pod": "a", "boot": boot, "started_at": "2026-01-31T12:00:00Z", "pid": 1, "host": "h", "version": "0.1.0"}
    Heartbeat.model_validate(beat)
