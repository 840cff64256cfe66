"""What viewers were shown by an earlier attempt's try of a step that was cut off: the log has it, the record does not."""

from __future__ import annotations

from uuid import UUID

from nats.aio.client import Client

from holdfast.bus import event_log
from holdfast.errors import BusUnavailable
from holdfast.wire import events


async def text_of_earlier_try(client: Client, run_id: UUID, position: str, attempt: int) -> str:
    """The text of the newest try of the step at ``position`` before ``attempt``; empty when the log has none, or is away."""
    text = ""
    try:
        async for entry in event_log.read(client, run_id, 0):
            for frame in events.split(entry.payload):
                if events.frame_id(frame).attempt >= attempt:
                    return text
                match events.frame_type(frame):
                    case "step.started" if events.decode(frame).data["position"] == position:
                        text = ""
                    case "text.delta" if (data := events.decode(frame).data)["position"] == position:
                        text += str(data["text"])
                    case "snapshot":
                        partial = events.decode(frame).data.get("partial", ())
                        text = "".join(str(part["text"]) for part in partial if part["position"] == position)
                    case _:
                        pass
    except BusUnavailable:
        return ""
    return text
