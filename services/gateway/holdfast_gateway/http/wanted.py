"""What the API takes: the bodies of requests, as frozen models. They change only by addition."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from holdfast.runs import OnBusy, OnOwnerLost
from holdfast.store.webhooks import RunWebhook
from holdfast_gateway.webhooks.signing import SECRET_FORM, key_of
from holdfast_gateway.webhooks.targets import URL_LENGTH_MAX

_ID = "A-Za-z0-9_:@-"
THREAD_ID_PATTERN = rf"^([{_ID}][.{_ID}]{{0,127}}|\.[{_ID}][.{_ID}]{{0,126}}|\.\.[.{_ID}]{{1,126}})$"
"""Letters, digits and ``._:@-``, 128 at the most; not ``.`` and ``..``, which clients take out of a path."""
POSITION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})*$"
"""A step's place in its run's journal."""
ThreadId = Annotated[str, Field(pattern=THREAD_ID_PATTERN, examples=["chat-42"])]
AgentName = Annotated[str, Field(min_length=1, max_length=200, examples=["assistant"])]
Metadata = Annotated[dict[str, Any], Field(description="yours; kept as it is")]

_WEEK_S = 7 * 24 * 3600
_YEAR_S = 365 * 24 * 3600.0
QUESTION_ID = "5b1c3c0e-3f0f-5f0a-8a53-0d8a4d1c5f11"
CHAT_INPUT: JsonDict = {"messages": [{"role": "user", "content": "Hello"}]}


class Taken(BaseModel):
    """A request's body: a field that is not known is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _not_null(value: Any) -> Any:
    if value is None:
        raise ValueError("must not be null")
    return value


def _secret(value: str) -> str:
    key_of(value)
    return value


def _each_once(events: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(events))


RunEvent = Literal[
    "run.queued", "run.running", "run.waiting", "run.interrupted", "run.completed", "run.failed", "run.cancelled"
]
TOLD_BY_DEFAULT: tuple[RunEvent, ...] = (
    "run.completed",
    "run.failed",
    "run.cancelled",
    "run.interrupted",
    "run.waiting",
)
WebhookUrl = Annotated[
    str,
    Field(
        min_length=1,
        max_length=URL_LENGTH_MAX,
        description="https; or http to this machine, named `localhost`, `127.0.0.1` or `[::1]`",
        examples=["https://example.com/holdfast"],
    ),
]
WebhookSecret = Annotated[str, AfterValidator(_secret)]
WebhookEvents = Annotated[
    tuple[RunEvent, ...], AfterValidator(_each_once), Field(min_length=1, description="which changes it is told of")
]


class RunWebhookWanted(Taken):
    """Who is told of one run."""

    url: WebhookUrl
    secret: WebhookSecret = Field(repr=False, description=SECRET_FORM)
    events: WebhookEvents = TOLD_BY_DEFAULT

    def kept(self) -> RunWebhook:
        """For the record."""
        return RunWebhook(self.url, self.secret, self.events)


class WebhookWanted(Taken):
    """Who is told of every run of the tenant."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://example.com/holdfast", "events": ["run.failed"]}]}
    )

    url: WebhookUrl
    events: WebhookEvents = TOLD_BY_DEFAULT
    description: Annotated[str, Field(max_length=200, description="yours; kept as it is")] = ""
    secret: WebhookSecret | None = Field(default=None, repr=False, description=f"{SECRET_FORM}; null: one is made")


class RunWanted(Taken):
    """A submit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"agent": "assistant", "input": CHAT_INPUT, "on_busy": "enqueue", "metadata": {"user": "7"}}]
        }
    )

    agent: AgentName
    input: Annotated[Any, AfterValidator(_not_null)] = Field(
        description='what the agent takes; of the built-in ones `{"messages": [{role, content}]}`'
    )
    on_busy: OnBusy = Field(
        default=OnBusy.ENQUEUE,
        description="the thread has an active run: `enqueue` behind it, `reject` with 409, or `replace` it",
    )
    on_owner_lost: OnOwnerLost = Field(
        default=OnOwnerLost.RESUME,
        description="its runner died: `resume` elsewhere from the last finished step, `interrupt` it until somebody resumes"
        " it, or `fail` it",
    )
    on_unknown: Literal["retry", "fail", "ask"] | None = Field(
        default=None,
        description="a step's outcome is not known, since its runner died in it: `retry` it, `fail` it, or `ask` what was"
        " done. null: what the step or its agent says",
    )
    max_crashes: int = Field(
        default=5,
        ge=1,
        le=100,
        description="so many runners lost without a step finished in between, and the run fails",
    )
    idle_timeout_s: int = Field(
        default=600,
        ge=1,
        le=_WEEK_S,
        strict=True,
        description="so long running without any progress, and the run fails",
    )
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=_YEAR_S,
        strict=True,
        description="so long after its submit, wherever it is then, the run fails",
    )
    webhook: RunWebhookWanted | None = Field(
        default=None, description="who is told of this run, beside the tenant's webhooks"
    )
    metadata: Metadata = {}

    def telling(self) -> dict[str, Any]:
        """What tells this request from others. Fields that older gateways do not know count only when they are used, so that a
        submit that is repeated while gateways are replaced is the same one."""
        unused = {name for name in _LATER_FIELDS if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="python", exclude=unused)


_LATER_FIELDS = ("on_owner_lost", "on_unknown", "max_crashes", "idle_timeout_s", "deadline_s", "webhook")


class RunOnNewThreadWanted(RunWanted):
    """A submit that makes its thread."""

    thread_id: ThreadId | None = Field(default=None, description="the thread; made if it is not there. None: a new one")


class ThreadWanted(Taken):
    """A thread to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "chat-42", "metadata": {"user": "7"}}]})

    id: ThreadId | None = Field(default=None, description="yours to choose; none: one is made up")
    metadata: Metadata = {}
    if_exists: Literal["raise", "use"] = Field(default="raise", description="409, or 200 with the thread that there is")


class AnswerWanted(Taken):
    """An answer to a question of a run."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question_id": QUESTION_ID, "answer": {"decision": "approve"}}]}
    )

    question_id: UUID = Field(description="of the run's `waiting`, and of its `run.waiting` event")
    answer: Any = Field(
        description="what the question's schema takes. About a step whose outcome is not known (kind `unknown`):"
        ' `{"outcome": "done", "result": …}`, `{"outcome": "retry"}` or `{"outcome": "fail", "message": …}`'
    )


class ForkWanted(Taken):
    """A run to make from another one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"from_position": "4"}, {"thread_id": "chat-42-again"}]})

    from_position: Annotated[str, Field(pattern=POSITION_PATTERN, max_length=200)] | None = Field(
        default=None, description="the first step that is to be done anew; null: go on after the last finished one"
    )
    thread_id: ThreadId | None = Field(
        default=None, description="another thread for it, made if it is not there. null: the same thread"
    )


class QueueEdit(Taken):
    """What to change of a queued run."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": CHAT_INPUT}]})

    input: Annotated[Any, AfterValidator(_not_null)] = Field(description="what the agent takes")
