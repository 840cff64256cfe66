"""The same without an event loop, event by event."""

import sys

from holdfast_client import chat
from holdfast_client.sync import Holdfast

with Holdfast() as holdfast:
    run = holdfast.submit("assistant", chat(sys.argv[1]))
    for event in run.events():
        if event.type == "text.delta":
            print(event.data["text"], end="", flush=True)
        elif event.type == "run.resumed":
            print(f"\n({event.data['pod']} goes on: what came after event {event.data['keep_through']} is said anew)")
    print(f"\n{run.result()}")
