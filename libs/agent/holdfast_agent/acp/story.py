"""What a run's journal tells of its child: the sessions, the prompts, what was said and done, what nobody knows.

The agent is replayed from its top, but a child does not do the same twice; so the replay is driven by the journal itself: each
step that it holds is asked for again, in its order, by :func:`replayed`. What follows depends on the story alone.

Positions: ``session`` steps and permission requests stand alone, and between them the group of a turn or several: ``turn``,
``message`` and ``tool`` steps, each with a call id of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import AgentFailed
from holdfast_agent.acp.permission import Permission, permission_of, question_of, schema_of
from holdfast_agent.acp.updates import ToolCall
from holdfast_agent.backend import OnUnknown, RecordedStep, StepSpec
from holdfast_agent.codec import from_record, to_record
from holdfast_agent.run import Run

_OURS = "acp:"
PERMISSION = "permission"
CUT = "cut"
OPEN = "open"


@dataclass(frozen=True, slots=True)
class SaidItem:
    """Text of the child."""

    text: str


@dataclass(frozen=True, slots=True)
class CallItem:
    """A tool call. ``status`` is completed, failed or unknown; ``open`` while it goes on, or when the journal knows no more;
    ``asked`` when it only came as far as to ask for permission."""

    call: ToolCall
    status: str
    result: str = ""


Item = SaidItem | CallItem


@dataclass
class Sitting:
    """One prompt and what came of it.

    ``how`` is open, cut, permission or ended; ``asked`` are the calls that wait for a permission.
    ``sent`` is False when the prompt of a cut one is known not to have reached the session."""

    prompt: str | None
    how: str = "open"
    asked: frozenset[str] = frozenset()
    items: list[Item] = field(default_factory=list)
    sent: bool | None = None
    items_at_end: int = 0


@dataclass
class Unfinished:
    """A step that the journal has begun and not finished. ``again``: a person said that it is to be run again."""

    kind: str
    name: str
    call_id: str
    call: ToolCall | None
    again: bool


@dataclass
class Story:
    """See the module. ``sittings`` are those of the present session; ``before`` those of earlier ones. ``calls`` are those that a
    replay has found to have begun, by their key."""

    session: Mapping[str, Any] | None = None
    session_begun: bool = False
    turns: int = 0
    messages: int = 0
    call_ids: set[str] = field(default_factory=set)
    calls: dict[str, ToolCall] = field(default_factory=dict)
    before: list[Sitting] = field(default_factory=list)
    sittings: list[Sitting] = field(default_factory=list)
    permissions: list[Permission] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    request: Mapping[str, Any] | None = None
    ended: Mapping[str, Any] | None = None

    @property
    def all_sittings(self) -> Sequence[Sitting]:
        """Of every session, in order."""
        return [*self.before, *self.sittings]

    def began_session(self, session: Mapping[str, Any]) -> None:
        """A new session: what was before is not in it."""
        self.session, self.session_begun = session, False
        self.before, self.sittings = [*self.before, *self.sittings], []

    def began_turn(self, prompt: str | None) -> None:
        """A prompt was, or may have been, sent."""
        self.turns += 1
        self.sittings.append(Sitting(prompt))

    def ended_turn(self, output: Mapping[str, Any]) -> None:
        """A turn is over; ``output`` is that of its step."""
        self.sittings[-1].how = output["outcome"]
        self.sittings[-1].sent = output.get("sent")
        self.sittings[-1].items_at_end = int(output.get("items", 0))
        if output["outcome"] == PERMISSION:
            self.request = output["request"]
            self.sittings[-1].asked = frozenset(output["asked"])
        elif output["outcome"] != CUT:
            self.ended = output

    def cut_short(self) -> None:
        """A fork may have less of the last turn than that had when it ended: then it goes on within it."""
        last = self.sittings[-1]
        if len(last.items) < last.items_at_end:
            last.how, self.ended, self.request = CUT, None, None

    def said(self, text: str) -> None:
        """A message is in the journal."""
        if text:
            self.sittings[-1].items.append(SaidItem(text))

    def began_call(self, call: ToolCall) -> None:
        """A call has begun: a permission for this once is used up."""
        self.sittings[-1].items.append(CallItem(call, OPEN))
        if any(each.used_by is call for each in self.permissions):
            return  # a refused call has its permission before it is journalled
        permission = self.permission_for(call)
        if permission is not None:
            permission.use(call)

    def ended_call(self, call: ToolCall, status: str, result: str) -> None:
        """The end of a call is in the journal."""
        items = self.sittings[-1].items
        place = next(place for place, item in enumerate(items) if isinstance(item, CallItem) and item.call is call)
        items[place] = CallItem(call, status, result)

    def forget_call(self, call: ToolCall) -> None:
        """It had not begun after all: it waits for a permission."""
        self.sittings[-1].items = [
            item for item in self.sittings[-1].items if not (isinstance(item, CallItem) and item.call is call)
        ]
        for permission in self.permissions:
            if permission.used_by is call:
                permission.take_back()  # as for a replay, which finds no such call

    def used_permission(self, used: Mapping[str, Any]) -> None:
        """A message step notes that a call uses a permission which its own step does not tell of. See :meth:`Scribe.allow`."""
        call = self.calls.get(str(used["call_id"]))
        if call is None:
            return  # it came no further than to ask once more
        for permission in self.permissions:
            if not permission.given and permission.fingerprint == used["fingerprint"]:
                permission.use(call)
                return

    def permission_for(self, call: ToolCall) -> Permission | None:
        """What was decided about a call, as long as it holds: that which the call has used when it began, before it asked; else
        one that is left."""
        fitting = [each for each in self.permissions if each.is_for(call)]
        own = (each for each in fitting if each.used_by is call and not each.answered)
        left = (each for each in fitting if each.always or not each.given)
        return next(own, None) or next(left, None)

    def fresh_call_id(self, tool_call_id: str) -> str:
        """A journal key for a call. A child that was started anew may count its calls from the beginning again."""
        base = f"call:{tool_call_id}" if tool_call_id.startswith(_OURS) else tool_call_id
        wanted, number = base, 1
        while wanted in self.call_ids:
            number += 1
            wanted = f"{base}#{number}"
        self.call_ids.add(wanted)
        return wanted


# -- the steps -------------------------------------------------------------------------------------------------------


def keyed_spec(kind: str, name: str, call_id: str, *, shown: Any = None, told: OnUnknown | None = None) -> StepSpec:
    """A turn, message or tool step. What tells it from others is its key: the rest of it is found out on the way."""
    return StepSpec(kind, name, {"call_id": call_id}, input=shown, call_id=call_id, on_unknown=told)


def turn_spec(number: int, prompt: str | None = None) -> StepSpec:
    """The step of a prompt and its answer. One that was cut is finished as such, and never sent again."""
    shown = {"prompt": prompt} if prompt is not None else None
    return keyed_spec("turn", "session/prompt", f"{_OURS}turn-{number}", shown=shown, told=OnUnknown.RETRY)


def message_spec(number: int) -> StepSpec:
    """The step of what a child shows between two tool calls."""
    return keyed_spec("message", "message", f"{_OURS}message-{number}", told=OnUnknown.RETRY)


def session_spec() -> StepSpec:
    """The step that begins a session. To begin another one that nothing is asked in does no harm."""
    return StepSpec("session", "session/new", {}, idempotent=True, on_unknown=OnUnknown.RETRY)


async def ask_permission(run: Run, story: Story) -> None:
    """Ask a person what the last turn has ended with. No child is alive by then."""
    assert story.request is not None
    request = from_record(story.request, what="the permission request")
    answer = await run.backend.ask("approval", question_of(request), schema_of(request))
    story.request = None
    story.permissions.append(permission_of(request, answer))


# -- replay ----------------------------------------------------------------------------------------------------------


async def replayed(run: Run) -> Story:
    """Replay all that the journal has finished.

    Raises:
        AgentFailed: the run has failed before, and fails in the same way.
    """
    story = Story()
    for step in sorted(await run.backend.recorded(), key=lambda step: [int(part) for part in step.position.split(".")]):
        if step.kind == "ask":
            await ask_permission(run, story)
        elif step.kind == "session":
            await _replay_session(run, story, step)
        else:
            await _replay_keyed(run, story, step)
    if story.sittings and not is_own(run, story):
        story.cut_short()
    return story


async def _replay_session(run: Run, story: Story, step: RecordedStep) -> None:
    if step.status in ("completed", "failed"):
        story.began_session(await run.backend.step(session_spec(), _nothing))
    else:
        story.session_begun = True


async def _replay_keyed(run: Run, story: Story, step: RecordedStep) -> None:
    """One of a group. What is unfinished is noted, and met when the child is there."""
    assert step.call_id is not None
    call = _call_of(step) if step.kind == "tool" else None
    shown = step.input if isinstance(step.input, Mapping) else {}
    story.call_ids.add(step.call_id)
    if step.kind == "turn":
        story.began_turn(shown.get("prompt"))
    if step.status not in ("completed", "failed"):
        if call is not None:
            story.began_call(call)
            story.calls[step.call_id] = call
        story.unfinished.append(Unfinished(step.kind, step.name, step.call_id, call, again=step.status == "retry"))
        return
    output: Mapping[str, Any] = {}
    failure: AgentFailed | None = None
    try:
        output = await run.backend.step(keyed_spec(step.kind, step.name, step.call_id), _nothing)
    except AgentFailed as failed:
        failure = failed
    if call is not None:
        if failure is not None and failure.code == "unknown_outcome" and is_own(run, story):
            raise failure
        status, result = _outcome(output, failure)
        if status == "asked":
            return
        story.began_call(call)
        story.calls[step.call_id] = call
        story.ended_call(call, status, result)
    elif step.kind == "message":
        story.messages += 1
        story.said(str(output.get("text", "")))
        if "permission" in output:
            story.used_permission(output["permission"])
    elif failure is None:
        story.ended_turn(output)
    elif is_own(run, story):
        raise failure
    else:
        story.ended_turn({"outcome": CUT})  # a fork of a run that failed goes on where that could not


def is_own(run: Run, story: Story) -> bool:
    """Is the session this run's own? A fork has its original's, which knows of things that the fork never did."""
    return story.session is not None and story.session.get("run_id") == str(run.id)


def _outcome(output: Any, failure: AgentFailed | None) -> tuple[str, str]:
    if failure is not None:
        return ("unknown" if failure.code in ("unknown", "unknown_outcome") else "failed"), failure.message
    if not isinstance(output, Mapping):  # a person said: it was done, with this result
        return "completed", str(output)
    return str(output.get("status", "completed")), str(output.get("text", output))


def call_shown(shown: Mapping[str, Any]) -> ToolCall:
    """The call as a replay knows it: from the input of its step."""
    call = ToolCall(str(shown["tool_call_id"]))
    call.title, call.kind = str(shown["title"]), str(shown.get("kind", ""))
    call.raw_input = shown.get("raw_input")
    return call


def _call_of(step: RecordedStep) -> ToolCall:
    shown = step.input if isinstance(step.input, Mapping) else {}
    assert step.call_id is not None
    ident = str(shown.get("tool_call_id", step.call_id.partition("#")[0]))
    return call_shown({"title": step.name, **shown, "tool_call_id": ident})


async def _nothing() -> Any:
    raise AssertionError("the journal has finished this step")


def as_recorded(value: Any) -> Any:
    """A value in the form in which the journal gives it back, so that the first run and its replay hold the same."""
    return to_record(value, what="the permission request")
