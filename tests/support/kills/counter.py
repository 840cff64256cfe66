"""The world outside: an HTTP server that counts what tools did to it, and does the same thing once for one idempotency key."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class CounterServer:
    """``with CounterServer() as counter``: ``POST <url>/<run>/<tool>`` counts a call; its body is the arguments."""

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._calls: dict[str, Counter[str]] = {}
        self._keys: set[str] = set()
        self._bodies: dict[tuple[str, str], list[Any]] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                run, tool = self.path.strip("/").split("/")
                outer._count(run, tool, self.headers.get("Idempotency-Key"), json.loads(body or b"null"))
                self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients are killed in the middle
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _count(self, run: str, tool: str, key: str | None, body: Any) -> None:
        with self._lock:
            if key is not None:
                if key in self._keys:
                    return
                self._keys.add(key)
            self._calls.setdefault(run, Counter())[tool] += 1
            self._bodies.setdefault((run, tool), []).append(body)

    def calls(self, run: str) -> dict[str, int]:
        """How often each tool was done for a run (idempotent ones: by their key)."""
        with self._lock:
            return dict(self._calls.get(run, {}))

    def bodies(self, run: str, tool: str) -> list[Any]:
        """With what."""
        with self._lock:
            return list(self._bodies.get((run, tool), []))
