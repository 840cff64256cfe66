"""Settings of every process, read from the environment once, in ``__main__``.

Every variable is ``HOLDFAST_<FIELD>``; ``POD_NAME`` alone has no prefix, since orchestrators set it. Times are in seconds.
The defaults are the ones that the documentation's figures were measured with.
"""

from __future__ import annotations

import re
import socket
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_POD_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")

CommaList = Annotated[tuple[str, ...], NoDecode]


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def host_name() -> str:
    """This host's name as a pod name: dots become dashes, since a pod's name is one token of a NATS subject."""
    return socket.gethostname().replace(".", "-")


class Settings(BaseSettings):
    """What every service needs: where the servers are, and how to log."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", frozen=True, extra="ignore", env_ignore_empty=True)

    postgres_url: str = "postgresql://postgres@127.0.0.1:5432/postgres"
    nats_url: CommaList = ("nats://127.0.0.1:4222",)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    heartbeat_interval_s: float = Field(default=1.0, gt=0)
    heartbeat_ttl_s: int = Field(default=5, ge=2, description="whole seconds: the server truncates a key's TTL to them")
    nats_replicas: int = Field(default=1, ge=1, le=5, description="replicas of streams and bucket")
    postgres_pool_size: int = Field(default=8, ge=1)
    postgres_timeout_s: float = Field(
        default=3.0, gt=0, description="after this a caller is told that the record is away"
    )
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=0, ge=0, le=65535, description="0: no health endpoint")
    schema_wait_s: float = Field(default=60.0, ge=0, description="how long a service waits for the schema it needs")

    _split_nats = field_validator("nats_url", mode="before")(_split)


class GatewaySettings(Settings):
    """The HTTP face."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    auth: Literal["keys", "none"] = "keys"
    bootstrap_key: str | None = Field(
        default=None, min_length=16, description="a first operator key of tenant 'default'"
    )
    body_bytes_max: int = Field(default=1024 * 1024, ge=1024)
    cors_origins: CommaList = ()
    keepalive_interval_s: float = Field(default=10.0, gt=0)
    viewer_queue_bytes_max: int = Field(default=4 * 1024 * 1024, ge=64 * 1024)
    streams_per_key_max: int = Field(
        default=10_000, ge=1, description="streams, long polls and waiting submits that one key may hold open here"
    )
    drain_grace_s: float = Field(default=5.0, ge=0, description="what open requests may take after SIGTERM")
    ai_sdk_agent: str = Field(default="assistant", description="the agent of an AI SDK chat that names none")
    webhook_private_addresses: bool = Field(
        default=False, description="webhooks may lead to this machine and to private networks, whoever adds them"
    )
    webhook_timeout_s: float = Field(default=15.0, gt=0, le=60, description="for one try of a delivery, all in all")
    webhook_tries_max: int = Field(default=64, ge=1, le=1024, description="tries at once; one receiver gets an eighth")

    _split_cors = field_validator("cors_origins", mode="before")(_split)

    @model_validator(mode="after")
    def _no_auth_on_loopback_only(self) -> GatewaySettings:
        if self.auth == "none" and self.host not in LOOPBACK_HOSTS:
            raise ValueError(
                f"HOLDFAST_AUTH=none is for one machine only: refusing to listen on {self.host}. "
                "Listen on 127.0.0.1, or use HOLDFAST_AUTH=keys and create a key with `holdfast keys create`."
            )
        return self


class RunnerSettings(Settings):
    """A pod that runs agents."""

    pod_name: str = Field(default_factory=host_name, validation_alias=AliasChoices("POD_NAME", "HOLDFAST_POD_NAME"))
    pool: str = Field(default="default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    slots: int = Field(default=16, ge=1, le=1024)
    agents: CommaList = ()
    stall_limit_s: float = Field(default=30.0, gt=0)
    drain_grace_s: float = Field(default=25.0, ge=0)
    append_budget_s: float = Field(
        default=15.0, gt=0, description="how long an append is retried before the log counts as lost"
    )
    owned_check_interval_s: float = Field(default=2.0, gt=0)
    step_bytes_max: int = Field(default=1024 * 1024, ge=1024)
    warm_up: bool = Field(default=True, description="get ready beside the first runs what agents need, such as imports")
    event_buffer_bytes_max: int = Field(default=16 * 1024 * 1024, ge=1024)
    event_bytes_max: int = Field(
        default=32 * 1024 * 1024,
        ge=64 * 1024,
        le=256 * 1024 * 1024,
        description="the largest event; what is larger than a NATS message is split",
    )

    _split_agents = field_validator("agents", mode="before")(_split)

    @field_validator("pod_name")
    @classmethod
    def _one_subject_token(cls, value: str) -> str:
        if not _POD_NAME.fullmatch(value):
            raise ValueError(f"POD_NAME {value!r} is not usable: 1 to 128 letters, digits, '-' or '_'")
        return value


class ReaperSettings(Settings):
    """What notices the dead."""

    probe_interval_s: float = Field(default=0.25, gt=0)
    probe_window_s: float = Field(default=1.0, gt=0)
    probe_sessions: bool = Field(
        default=True, description="off behind a transaction pooler: then the TTL alone decides"
    )
    sweep_interval_s: float = Field(default=2.0, gt=0)
    sweep_batch_size: int = Field(default=500, ge=1)
    wake_interval_s: float = Field(
        default=0.5, gt=0, description="a timer set since the last look is met this late at the most"
    )
    cancel_grace_s: float = Field(default=10.0, gt=0)
    feed_keep_s: float = Field(
        default=24 * 3600.0, ge=60, description="how long the feed can go on from a cursor; older ones get a snapshot"
    )
    idempotency_keep_s: float = Field(
        default=7 * 24 * 3600.0, ge=3600, description="how long the same Idempotency-Key means the same run"
    )
    retention_s: float | None = Field(
        default=None,
        ge=24 * 3600,
        description="how long a thread is kept, with all of it, after its last run has ended; none: for ever. "
        "The log of its events is older than that then, and gone",
    )
