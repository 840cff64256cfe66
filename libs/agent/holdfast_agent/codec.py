"""Values on their way into the journal and back: what a step takes and returns, as JSON that tells what it was.

JSON values stay. What JSON has no word for becomes an object with the key ``$holdfast``:

====================================  ==================================================================
bytes                                 ``{"$holdfast": "bytes", "value": <base64>}``
datetime, date, UUID, Decimal         ``{"$holdfast": "datetime", "value": <text>}``, and so on
a member of an Enum                   ``{"$holdfast": "enum", "type": "module:Class", "name": …}`` (a Flag: ``value``)
a dataclass                           ``{"$holdfast": "dataclass", "type": "module:Class", "value": {<field>: …}}``
a pydantic model                      ``{"$holdfast": "model", "type": "module:Class", "value": {<field>: …}}``
a float that Postgres would change    ``{"$holdfast": "float", "value": <text>}`` (1e16 and more, -0.0)
a dict that has that key itself       ``{"$holdfast": "dict", "value": {<key>: …}}``, also as the value of a model
====================================  ==================================================================

A tuple becomes a list, a subclass of ``str``, ``int``, ``float``, ``dict`` or ``list`` what it is a subclass of, and a dict's
keys come in the order that Postgres gives them, so that the first run of a step and its replay hand on the very same value.
Whatever else there is fails. What the record cannot hold (NUL, NaN, too much) is the runner's to refuse. Nothing is built here
but dataclasses, pydantic models and members of Enums, and no module is imported but to find them.
"""

from __future__ import annotations

import base64
import importlib
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, Flag
from types import ModuleType
from typing import Any
from uuid import UUID

from pydantic import BaseModel, RootModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from holdfast.errors import AgentFailed

TAG = "$holdfast"
_DICT = "dict"
_AGENT_FILE = re.compile(
    r"(?P<stem>holdfast_agents\..+)_[0-9a-f]{8}"
)  # as load.py names a file's module: its stem, a hash of its path
_EXACT_FLOAT_BELOW = 1e16  # from here on floats are written without a point, and Postgres gives them back as integers
_TEXTS: Mapping[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "bytes": (
        bytes,
        lambda value: base64.b64encode(value).decode(),
        lambda text: base64.b64decode(text, validate=True),
    ),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),  # before date, whose subclass it is
    "date": (date, date.isoformat, date.fromisoformat),
    "uuid": (UUID, str, UUID),
    "decimal": (Decimal, str, Decimal),
    "float": (float, float.__repr__, float),
}


class _NoEncodingError(Exception):
    """A value, or one inside it, has no encoding. ``str()`` says where, and why."""


def to_record(value: Any, *, what: str) -> Any:
    """The value as JSON that :func:`from_record` reads.

    Raises:
        AgentFailed: ``not_json``; the message names ``what``, where in the value (``$.items[2].price``) and the type.
    """
    try:
        return _encoded(value, "$")
    except _NoEncodingError as error:
        raise AgentFailed("not_json", f"{what} cannot be recorded: {error}") from error
    except RecursionError as error:
        raise AgentFailed("not_json", f"{what} cannot be recorded: it nests too deep, or holds itself") from error


def from_record(value: Any, *, what: str) -> Any:
    """The value that :func:`to_record` was given.

    Raises:
        AgentFailed: ``not_decodable``: a type that it needs is gone, or the record no longer fits it; the message names
            ``what``, where in the value, and the type.
    """
    try:
        return _decoded(value, "$", what)
    except RecursionError as error:
        raise AgentFailed("not_decodable", f"{what} cannot be read back: it nests too deep") from error


def to_plain(value: Any, *, what: str) -> Any:
    """The value as plain JSON for somebody who does not know its types: a model is an object, bytes are base64.

    Raises:
        AgentFailed: ``not_json``, naming ``what`` and the type.
    """
    try:
        return to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise AgentFailed("not_json", f"{what} is not a JSON value: {error}") from error


def comparable(record: Any) -> Any:
    """The record without what differs from pod to pod: where the files of agents lie (see ``load.py``)."""
    if isinstance(record, list):
        return [comparable(each) for each in record]
    if not isinstance(record, dict):
        return record
    plain = {key: comparable(each) for key, each in record.items()}
    if TAG in plain and "type" in plain:
        module, _, name = str(plain["type"]).partition(":")
        plain["type"] = f"{_stem(module) or module}:{name}"
    return plain


# -- to the record -----------------------------------------------------------------------------------------------------


def _encoded(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        own = {"value": value.value} if isinstance(value, Flag) else {"name": value.name}
        return {TAG: "enum", "type": _type_name(type(value), where), **own}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _encoded_float(float(value))
    if isinstance(value, (list, tuple)):
        return [_encoded(each, f"{where}[{n}]") for n, each in enumerate(value)]
    if isinstance(value, dict):
        return _encoded_dict(value, where)
    if isinstance(value, BaseModel):
        return {TAG: "model", "type": _type_name(type(value), where), "value": _encoded_model(value, where)}
    if is_dataclass(value) and not isinstance(value, type):
        own = {each.name: _encoded(getattr(value, each.name), f"{where}.{each.name}") for each in fields(value)}
        return {TAG: "dataclass", "type": _type_name(type(value), where), "value": own}
    for kind, (of_type, to_text, _) in _TEXTS.items():
        if isinstance(value, of_type):
            return {TAG: kind, "value": to_text(value)}
    raise _NoEncodingError(f"{where} is of type {_shown(type(value))}, which has no encoding")


def _encoded_float(value: float) -> Any:
    changed = (value.is_integer() and abs(value) >= _EXACT_FLOAT_BELOW) or (value == 0 and math.copysign(1, value) < 0)
    return {TAG: "float", "value": repr(value)} if changed else value


def _encoded_dict(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise _NoEncodingError(f"{where} has the key {key!r} of type {_shown(type(key))}: keys must be strings")
    plain = {str.__str__(key): _encoded(value[key], f"{where}.{key}") for key in sorted(value, key=_postgres_order)}
    return _escaped(plain)


def _escaped(record: dict[str, Any]) -> dict[str, Any]:
    """An object whose keys are somebody's own: what says ``$holdfast`` in it is not the journal's word, and builds nothing."""
    return {TAG: _DICT, "value": record} if TAG in record else record


def _postgres_order(key: str) -> tuple[int, bytes]:
    """How jsonb sorts the keys of an object: the shorter first, then by their bytes."""
    encoded = key.encode("utf-8", "surrogatepass")
    return len(encoded), encoded


def _encoded_model(model: BaseModel, where: str) -> Any:
    """A model's fields, each by the rules above; one for which these have no word as pydantic has it, if that gives it back."""
    if isinstance(model, RootModel):
        return _encoded(model.root, where)
    own: dict[str, Any] = dict(model.model_extra or {})
    own.update((name, getattr(model, name)) for name, field in type(model).model_fields.items() if not field.exclude)
    record, refused = {}, {}
    for name, each in own.items():
        try:
            record[name] = _encoded(each, f"{where}.{name}")
        except _NoEncodingError as error:
            refused[name] = error
    if refused:
        record |= _by_pydantic(model, own, record, refused)
    return _escaped(record)


def _by_pydantic(
    model: BaseModel, own: Mapping[str, Any], record: Mapping[str, Any], refused: Mapping[str, _NoEncodingError]
) -> dict[str, Any]:
    """The refused fields as pydantic writes them (a set, a timedelta), if that gives them back: a secret's stars do not."""
    first = next(iter(refused.values()))
    try:
        dumped = model.model_dump(mode="json", include=set(refused), by_alias=False)
        written = {name: _encoded(each, f"$.{name}") for name, each in dumped.items()}
        again = _build_model(type(model), _decoded_own({**record, **written}, "$", type(model).__name__))
        survived = {name for name in refused if name in written and getattr(again, name) == own[name]}
    except Exception:  # whatever a serialiser or a validator of the author's raises
        raise first from None
    for name, error in refused.items():
        if name not in survived:
            raise error
    return written


def _type_name(of: type, where: str) -> str:
    """``module:Class``, checked to lead back to a class of that name."""
    name = f"{of.__module__}:{of.__qualname__}"
    try:
        found = _found(name)
    except (LookupError, ImportError, AttributeError, ValueError):
        found = None
    if not isinstance(found, type):
        raise _NoEncodingError(
            f"{where} is of type {_shown(of)}, which cannot be found again by that name: define the class at the top of a module"
        )
    return name


def _shown(of: type) -> str:
    return of.__qualname__ if of.__module__ == "builtins" else f"{of.__module__}:{of.__qualname__}"


# -- from the record ---------------------------------------------------------------------------------------------------


def _decoded(record: Any, where: str, what: str) -> Any:
    if isinstance(record, list):
        return [_decoded(each, f"{where}[{n}]", what) for n, each in enumerate(record)]
    if not isinstance(record, dict):
        return record
    if TAG not in record:
        return {key: _decoded(each, f"{where}.{key}", what) for key, each in record.items()}
    kind = record[TAG]
    if kind == _DICT and isinstance(record.get("value"), dict):
        return _decoded_own(record["value"], where, what)
    try:
        if kind in _TEXTS:
            return _TEXTS[kind][2](record["value"])
        name = record["type"]
        of = _class(kind, name)
    except AgentFailed:
        raise
    except Exception as error:
        named = f" of type {record['type']}" if isinstance(record.get("type"), str) else ""
        message = f"{what} cannot be read back: {where} is a {kind}{named}: {error}"
        raise AgentFailed("not_decodable", message) from error
    inner = _decoded_fields(of, record.get("value"), where, what) if kind != "enum" else None
    try:
        return _build(of, record, inner)
    except Exception as error:  # whatever a constructor or a validator of the author's raises
        message = f"{what} cannot be read back: {where} no longer fits {name}: {type(error).__name__}: {error}"
        raise AgentFailed("not_decodable", message) from error


def _decoded_fields(of: type, record: Any, where: str, what: str) -> Any:
    """What a class is built of. Only a root model's is a value of any kind: with the others a ``$holdfast`` is a field's name."""
    if not isinstance(record, dict) or issubclass(of, RootModel):
        return _decoded(record, where, what)
    escaped = record.keys() == {TAG, "value"} and record[TAG] == _DICT and isinstance(record["value"], dict)
    return _decoded_own(record["value"] if escaped else record, where, what)


def _decoded_own(record: Mapping[str, Any], where: str, what: str) -> dict[str, Any]:
    """Each value of an object whose keys are all somebody's own."""
    return {name: _decoded(each, f"{where}.{name}", what) for name, each in record.items()}


def _class(kind: object, name: str) -> type:
    """The class of that name, if it is one that may be built."""
    of = _found(name)
    fits = isinstance(of, type) and (
        (kind == "model" and issubclass(of, BaseModel))
        or (kind == "dataclass" and is_dataclass(of))
        or (kind == "enum" and issubclass(of, Enum))
    )
    if not fits:
        raise LookupError(f"{name} is no {kind} now")
    return of  # type: ignore[no-any-return]  # `fits` says that it is a type


def _build(of: type, record: Mapping[str, Any], inner: Any) -> Any:
    if issubclass(of, Flag):
        return of(record["value"])
    if issubclass(of, Enum):
        return of[record["name"]]
    if issubclass(of, BaseModel):
        return _build_model(of, inner)
    assert is_dataclass(of)
    by_hand = {each.name for each in fields(of) if not each.init}
    built = of(**{name: each for name, each in inner.items() if name not in by_hand})
    for name in by_hand & inner.keys():
        object.__setattr__(built, name, inner[name])
    return built


def _build_model(of: type[BaseModel], inner: Any) -> BaseModel:
    return of.model_validate(inner, strict=False, by_alias=False, by_name=True)


# -- types by name -----------------------------------------------------------------------------------------------------


def _found(name: str) -> Any:
    """What ``module:qualname`` names now.

    Raises:
        LookupError: there is none.
        Exception: whatever the module raises when it is imported.
    """
    module_name, _, qualname = name.partition(":")
    module = sys.modules.get(module_name)
    if module is None and _stem(module_name) is not None:
        return _found_in_files(name, module_name, qualname)
    return _member(module or importlib.import_module(module_name), qualname)


def _found_in_files(name: str, module_name: str, qualname: str) -> Any:
    """Look in the agents' files of that stem, wherever they lie on this pod."""
    stem = _stem(module_name)
    found = []
    for each, module in sorted(sys.modules.items()):
        if _stem(each) == stem:
            try:
                found.append(_member(module, qualname))
            except LookupError:
                continue
    if len(found) == 1:
        return found[0]
    raise LookupError(f"{len(found)} loaded files of agents have {qualname}, of those named as in {name}")


def _member(module: ModuleType, qualname: str) -> Any:
    if qualname in vars(module):  # a generic model's name (``Page[Item]``) is one name, dots and all
        return vars(module)[qualname]
    found: Any = module
    for part in qualname.split("."):
        try:
            found = vars(found)[part]
        except (KeyError, TypeError):
            raise LookupError(f"{module.__name__} has no {qualname}") from None
    return found


def _stem(module_name: str) -> str | None:
    """``holdfast_agents.<stem>`` of the name under which a file of agents was loaded; None for any other module."""
    match = _AGENT_FILE.fullmatch(module_name)
    return match["stem"] if match else None
