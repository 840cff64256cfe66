"""Going on with an answer that was cut: what viewers were shown of it stays, and the model is asked to go on from there.

Only for providers that continue a trailing assistant message. One that does not begins anew, and the answer then has the
beginning twice: therefore it is off unless asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import RunContext

from holdfast_agent.run import Run


class Prefix:
    """What the earlier try of the model request that runs here had shown."""

    def __init__(self) -> None:
        self._text: ContextVar[str] = ContextVar("holdfast_prefix", default="")

    async def found(self, run: Run) -> str:
        """Look for it; to be called in the step's work. Empty at a first try."""
        text = await run.backend.partial_text() if run.tries > 1 else ""
        self._text.set(text)
        return text

    def before(self, messages: list[ModelMessage]) -> list[ModelMessage]:
        """The messages with the beginning of their answer behind them."""
        text = self._text.get()
        return [*messages, ModelResponse(parts=[TextPart(text)])] if text else messages


class Continuing(WrapperModel):
    """Asks the wrapped model to go on from the prefix, when there is one."""

    def __init__(self, wrapped: Model, prefix: Prefix) -> None:
        super().__init__(wrapped)
        self._prefix = prefix

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """See ``Model.request``."""
        return await self.wrapped.request(self._prefix.before(messages), model_settings, model_request_parameters)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncIterator[StreamedResponse]:
        """See ``Model.request_stream``."""
        async with self.wrapped.request_stream(
            self._prefix.before(messages), model_settings, model_request_parameters, run_context
        ) as stream:
            yield stream
