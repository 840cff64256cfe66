"""Where the built-in agents find their model, and what their tools may do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _words(text: Any) -> Any:
    return frozenset(filter(None, (word.strip() for word in text.split(",")))) if isinstance(text, str) else text


class ModelSettings(BaseSettings):
    """Any endpoint that speaks the OpenAI chat-completions protocol, by the variables that its users know."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    api_key: SecretStr = Field(default=SecretStr("none"), validation_alias="OPENAI_API_KEY")
    model: str = Field(default="gpt-4o-mini", validation_alias=AliasChoices("HOLDFAST_MODEL", "OPENAI_MODEL"))
    connect_timeout_s: float = Field(default=5.0, gt=0, validation_alias="HOLDFAST_MODEL_CONNECT_TIMEOUT_S")
    silence_timeout_s: float = Field(
        default=120.0, gt=0, validation_alias="HOLDFAST_MODEL_SILENCE_TIMEOUT_S", description="between two chunks"
    )


class SeamlessSettings(BaseSettings):
    """Whether an answer that was cut goes on where it was cut, for agents that do not say themselves."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    seamless: bool = Field(
        default=False,
        validation_alias="HOLDFAST_SEAMLESS",
        description="only for providers that continue a trailing assistant message",
    )


class ToolSettings(BaseSettings):
    """What the tools of ``assistant`` may do. Lists are separated by commas."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    workspace: Path | None = Field(
        default=None, validation_alias="HOLDFAST_WORKSPACE", description="the folder of its files; none: no files"
    )
    fetch_allow: Annotated[frozenset[str], NoDecode, BeforeValidator(_words)] = Field(
        default=frozenset(),
        validation_alias="HOLDFAST_FETCH_ALLOW",
        description="hosts (`example.org`, `*.example.org`, `example.org:8080`), addresses and networks; none: no fetches",
    )
    approve: Annotated[frozenset[str], NoDecode, BeforeValidator(_words)] = Field(
        default=frozenset(),
        validation_alias="HOLDFAST_APPROVE",
        description="tools whose calls a person must approve: `write_file`, `fetch`",
    )
