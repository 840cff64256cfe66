"""Values held against JSON schemas that somebody else wrote: an agent's input, an answer to a question.

A schema that cannot be used is its writer's fault and not the caller's: it is logged, and the value is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema
from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from holdfast.logs import get_logger

log = get_logger(__name__)
_PROBLEMS_MAX = 8
_MESSAGE_LENGTH_MAX = 500


def validator_of(schema: Mapping[str, Any], whose: str) -> Validator | None:
    """A schema made ready; None for one that says nothing, or that is none. ``whose`` is for the log."""
    if not schema:
        return None
    of_dialect = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        of_dialect.check_schema(dict(schema))
    except SchemaError as error:
        log.warning("schema.unusable", whose=whose, error=error.message)
        return None
    # an empty registry: a schema that refers to an address must not make the gateway fetch it
    return of_dialect(dict(schema), registry=Registry())


def problems_with(value: Any, validator: Validator | None, loc: Sequence[str], whose: str) -> list[dict[str, Any]]:
    """What is wrong with a value, the first few: ``{"loc": [...], "msg": ...}``, each ``loc`` beginning with the given one."""
    problems: list[dict[str, Any]] = []
    if validator is None:
        return problems
    try:
        for error in validator.iter_errors(value):
            problems.append({"loc": [*loc, *error.absolute_path], "msg": error.message[:_MESSAGE_LENGTH_MAX]})
            if len(problems) == _PROBLEMS_MAX:
                break
    except Unresolvable as error:
        log.warning("schema.unusable", whose=whose, error=str(error))
        return []
    return problems
