"""The type of a step's result, from its function's annotation: so that a result which a person gives as plain JSON becomes one.

Only types that stand for themselves count (a model, a dataclass, a datetime, a UUID, a Decimal); anything else is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, get_type_hints
from uuid import UUID
from weakref import WeakKeyDictionary

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError


class ResultType:
    """What a function says that it returns, if that is one of the types above."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._type = _returned(fn)
        self._adapter: TypeAdapter[Any] | None
        try:
            self._adapter = TypeAdapter(self._type) if self._type is not None else None
        except (PydanticSchemaGenerationError, PydanticUserError):
            self._adapter = None

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> ResultType:
        """A function's, read once: an annotation takes longer to read than a short step takes."""
        fn = getattr(fn, "__func__", fn)  # of a method the function, which stays
        try:
            found = _known.get(fn)
            if found is None:
                found = _known[fn] = cls(fn)
        except TypeError:  # a callable object that cannot be a key
            return cls(fn)
        return found

    @cached_property
    def schema(self) -> Mapping[str, Any] | None:
        """JSON schema of it. None: any value."""
        try:
            return self._adapter.json_schema() if self._adapter is not None else None
        except PydanticUserError:
            return None

    def fit(self, result: Any) -> Any:
        """The result as that type; what does not fit stays as it is."""
        if self._adapter is None or self._type is None or isinstance(result, self._type):
            return result
        try:
            return self._adapter.validate_python(result)
        except ValidationError:
            return result


_known: WeakKeyDictionary[Callable[..., Any], ResultType] = WeakKeyDictionary()


def _returned(fn: Callable[..., Any]) -> type | None:
    try:
        found = get_type_hints(fn).get("return")
    except Exception:  # an annotation that cannot be read says nothing
        return None
    if isinstance(found, type) and (is_dataclass(found) or issubclass(found, (BaseModel, datetime, Decimal, UUID))):
        return found
    return None
