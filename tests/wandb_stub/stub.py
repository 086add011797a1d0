"""A W&B server small enough to live in a test: it answers the real wandb client over 127.0.0.1, from memory.

    with WandbStub() as stub:
        subprocess.run([sys.executable, "-c", SCRIPT], env=stub.environ())
        print([(run.config, run.history, run.state) for run in stub.runs.values()])

Answers `wandb.login`, `wandb.init` (resume too), logging and `finish`, `wandb sync`, `wandb sweep`, `wandb agent` and
`wandb.Api()`: GraphQL operations (the `op_` methods of runs.py, sweeps.py, api.py), the file stream and uploads.
"""

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.wandb_stub.api import ApiOperations
from tests.wandb_stub.nodes import ENTITY
from tests.wandb_stub.runs import Run, RunOperations
from tests.wandb_stub.sweeps import SweepOperations

VIEWER = {
    "id": "user",
    "name": "stub-user",
    "username": "stub-user",
    "entity": ENTITY,
    "flags": "{}",
    "email": "stub@example.invalid",
    "admin": False,
    "deletedAt": None,
    "apiKeys": {"edges": []},
    "teams": {"edges": [{"node": {"name": ENTITY}}]},
}
CONSTANT = {  # GraphQL operations whose answer never changes
    "Viewer": {"viewer": VIEWER},
    "ServerFeaturesQuery": {"serverInfo": {"features": []}},
    "OrganizationCoreWeaveOrganizationID": {"entity": {"organization": None}},
    "RunStoppedStatus": {"project": {"run": {"stopped": False}}},
}


class WandbStub(RunOperations, SweepOperations, ApiOperations):
    """The server, in a thread from construction to `close`.

    unanswered: what clients asked and the stub did not know. before: called with the name of each GraphQL operation
    before it is answered, for a test that wants a slow server.
    """

    def __init__(self, before: Callable[[str], None] = lambda operation: None) -> None:
        SweepOperations.__init__(self)
        ApiOperations.__init__(self)
        self.runs: dict[str, Run] = {}
        self.unanswered: list[str] = []
        self.before, self.lock, self.stopped = before, threading.RLock(), False
        self._folder = tempfile.TemporaryDirectory(prefix="wandb-stub-", ignore_cleanup_errors=True)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": self}))
        self._server.handle_error = lambda *connection: None  # a client that went away is no news
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "WandbStub":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def stop(self) -> None:
        """Answer nobody any more, open connections included; the port is closed."""
        self.stopped = True
        self._server.shutdown()
        self._server.server_close()

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()

    def environ(self, **more: str) -> dict[str, str]:
        """A client's environment: this server, every wandb folder in a temporary one, no WANDB_ variable of ours."""
        own = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "a" * 40, "WANDB_ENTITY": ENTITY}
        own |= {"WANDB_ERROR_REPORTING": "false", "WANDB_X_DISABLE_STATS": "true", "NETRC": os.devnull}
        own |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "TMPDIR"):
            own[name] = str(Path(self._folder.name) / name)
            os.makedirs(own[name], exist_ok=True)
        return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | own | more

    def wait_for(self, condition: Callable[[], object], seconds: float = 20.0) -> object:
        """The first true value of condition(); raises TimeoutError."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                states = {name: run.state for name, run in self.runs.items()}
                raise TimeoutError(f"not true after {seconds} s; runs: {states}")
            time.sleep(0.05)
        return value

    def answer(self, path: str, body: bytes) -> tuple[int, dict | bytes]:
        """HTTP status and content of one request; raises on what the stub does not know."""
        if path == "/graphql":
            call = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", call["query"])[1]
            self.before(operation)
            with self.lock:
                found = CONSTANT.get(operation)
                return 200, {"data": found or getattr(self, f"op_{operation}")(call.get("variables") or {})}
        if match := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
            with self.lock:
                return 200, self.file_stream(self.runs[match[1]], json.loads(body or b"{}"))
        if match := re.fullmatch(r"/upload/([^/]+)/(.+)", path):
            self.runs[match[1]].files[match[2]] = body
            return 200, {}
        if match := re.fullmatch(r"/parquet/([^/]+)", path):
            return 200, self.parquet_file(self.runs[match[1]])
        if path.startswith("/sdk/otel/"):  # telemetry
            return 200, {}
        raise LookupError(path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: WandbStub

    def log_message(self, *arguments: object) -> None:
        """Nothing on the test's output."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.stub.stopped:
            self.close_connection = True
            return
        try:
            status, answer = self.stub.answer(self.path, body)
        except Exception as error:
            self.stub.unanswered.append(f"{self.path} {body[:500]!r}: {error!r}")
            status, answer = 400, {"errors": [{"message": f"stub: {error!r}"}]}
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        with suppress(OSError):
            self.send_response(206 if span else status)
            if span:
                first, last = int(span[1]), int(span[2] or len(content) - 1)
                self.send_header("Content-Range", f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}")
                content = content[first : last + 1]
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer
