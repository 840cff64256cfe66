"""Be told of runs: check the signature as Standard Webhooks has it, and act on each message once. Needs nothing but Python."""

import base64
import hashlib
import hmac
import json
import os
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
OLDEST_S = 300  # older ones may be somebody's recording
BYTES_MAX = 1_000_000
acted_on: set[str] = set()  # in earnest: a unique column, written in the transaction that acts


def is_genuine(headers: Message, body: bytes) -> bool:
    """Did Holdfast send these very bytes, and just now?"""
    identity, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > OLDEST_S:
        return False
    mac = hmac.new(KEY, f"{identity}.{sent_at}.".encode() + body, hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(mac)
    given = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(expected, each) for each in given)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Answer 2xx as soon as the message is safe with you. Anything else, or nothing: it comes again, for a day."""
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length) if length <= BYTES_MAX else b""
        if not is_genuine(self.headers, body):
            self.send_error(401)
            return
        if self.headers["webhook-id"] not in acted_on:
            acted_on.add(self.headers["webhook-id"])
            message = json.loads(body)
            print(message["type"], message["data"]["run_id"], flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Receiver).serve_forever()
