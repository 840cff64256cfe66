"""The OpenAPI page as FastAPI makes it, made true: errors are problem+json, and calls want a key."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from holdfast_gateway.http.problems import PROBLEM_EXAMPLES

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_KEYS: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def describe(app: FastAPI, *, with_keys: bool) -> None:
    """Have ``app`` serve the corrected page, made at the first request for it."""

    def page() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            for path in made["paths"].values():
                for call in path.values():
                    _correct(call["responses"])
            if with_keys:
                made["components"]["securitySchemes"] = _KEYS
                made["security"] = [{name: []} for name in _KEYS]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = page  # type: ignore[method-assign]  # FastAPI's own way to replace it


def _correct(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema") == _PROBLEM:
            media = content["application/json"]
            if status in PROBLEM_EXAMPLES:
                media["example"] = PROBLEM_EXAMPLES[status]
            response["content"] = {"application/problem+json": media}
