"""Where the built-in agents find their model."""

from __future__ import annotations

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
