"""What is asked of a model or a unit, as a short value that is the same at each replay. Pure.

Left out is what differs between two replays of the same run: times, ids of runs, and tool call ids that were made up because the
provider gave none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse, ToolCallPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import RunContext
from pydantic_core import to_jsonable_python

from holdfast_agent.pydantic_ai import model_step

_OF_THIS_REPLAY = frozenset({"timestamp", "run_id", "conversation_id"})
_MADE_UP_ID = "pyd_ai_"
_SEEN_OF_A_TOOL = ("name", "description", "parameters_json_schema", "strict")
_PARAMETERS: TypeAdapter[ModelRequestParameters] = TypeAdapter(ModelRequestParameters)


def model_request(
    messages: Sequence[ModelMessage], settings: ModelSettings | None, parameters: ModelRequestParameters
) -> str:
    """A digest of what a model is asked: the messages, the settings, the tools and the shape of the answer."""
    return digest(
        [
            [_message(each) for each in ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")],
            jsonable(settings),
            _parameters(parameters),
        ]
    )


def digest(value: Any) -> str:
    """The SHA-256 of a value, as hex."""
    return hashlib.sha256(json.dumps(jsonable(value), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def call(messages: Sequence[ModelMessage], call_id: str | None, arguments: Any) -> str:
    """A digest of what a tool is asked: the arguments as the model gave them, because a validator may fill in others each time.

    ``arguments`` are the validated ones, for a call that no model has made (a tool makes it).
    """
    asked = (
        part
        for message in reversed(messages)
        if isinstance(message, ModelResponse)
        for part in message.parts
        if isinstance(part, ToolCallPart) and part.tool_call_id == call_id
    )
    found = next(asked, None) if call_id is not None else None
    return digest(model_step.arguments_of(found.args) if found is not None else arguments)


def unit(cache_key: Sequence[object]) -> str:
    """A digest of what any other unit is asked. The run's context is not part of it: it is the run."""
    return digest([_plain(each) for each in cache_key if not isinstance(each, RunContext)])


def jsonable(value: Any) -> Any:
    """A value as JSON, the same in every process: a set's members come in the order of their JSON.

    What has no form in JSON stands as the name of its type: its text may hold an address.
    """
    if isinstance(value, BaseModel):
        return jsonable(value.model_dump(warnings=False))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: jsonable(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    if isinstance(value, Set):
        return _sorted(jsonable(each) for each in value)
    return to_jsonable_python(value, fallback=_unknown, inf_nan_mode="strings", bytes_mode="base64")


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(jsonable(key))


def _sorted(members: Iterable[Any]) -> list[Any]:
    return sorted(members, key=lambda each: json.dumps(each, sort_keys=True))


def _plain(value: Any) -> Any:
    """With pydantic_ai's own objects as mappings, without what is of this replay only."""
    if isinstance(value, RunContext | Model):
        return _unknown(value)
    if is_dataclass(value) and type(value).__module__.startswith("pydantic_ai."):
        return {
            each.name: _plain(getattr(value, each.name)) for each in fields(value) if each.name not in _OF_THIS_REPLAY
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Set):
        return _sorted(_plain(each) for each in value)
    return jsonable(value)


def _unknown(value: Any) -> Any:
    return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent of it. Fields without a value are left out, so that a library that has more of them hashes the same."""
    sent = {"kind": message["kind"], "instructions": message.get("instructions")}
    return {**sent, "parts": [_part(part) for part in message["parts"]]}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in part.items() if key != "timestamp" and value is not None}
    if str(kept.get("tool_call_id", "")).startswith(_MADE_UP_ID):
        kept["tool_call_id"] = "made up"
    return kept


def _parameters(parameters: ModelRequestParameters) -> Any:
    """Of the tools only what the model sees: that a person must approve a call, say, makes no other request of it."""
    dumped = _PARAMETERS.dump_python(parameters, mode="json", fallback=_unknown)
    for tools in ("function_tools", "output_tools"):
        dumped[tools] = [{key: tool.get(key) for key in _SEEN_OF_A_TOOL} for tool in dumped[tools]]
    return {key: value for key, value in dumped.items() if value}
