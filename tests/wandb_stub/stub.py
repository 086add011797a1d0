"""A W&B server small enough to live in a test: it answers the real wandb client over 127.0.0.1, from memory.

    with WandbStub() as stub:
        subprocess.run([sys.executable, "-c", SCRIPT], env=stub.environ())
        print([(run.config, run.history, run.state) for run in stub.runs.values()])

Answers what `wandb.login`, `wandb.init` (resume too), logging and `finish` ask: GraphQL operations (the `op_` methods),
the file stream (history, summary, end of a run) and uploads of files.
"""

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ENTITY = "stub-team"
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
FIELDS = {  # of UpsertBucket -> of Run
    "groupName": "group",
    "tags": "tags",
    "jobType": "job_type",
    "displayName": "name",
}


@dataclass
class Run:
    """state: running, finished, failed or preempting. history: one mapping a logged row. metrics: define_metric's."""

    id: str
    project: str
    name: str = ""
    state: str = "running"
    exit_code: int | None = None
    preempting: bool = False
    config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    metrics: list[dict] = field(default_factory=list)


class WandbStub:
    """The server, in a thread from construction to `close`.

    unanswered: what clients asked and the stub did not know. before: called with the name of each GraphQL operation
    before it is answered, for a test that wants a slow server.
    """

    def __init__(self, before: Callable[[str], None] = lambda operation: None) -> None:
        self.runs: dict[str, Run] = {}
        self.unanswered: list[str] = []
        self.before, self.lock, self.stopped = before, threading.Lock(), False
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
                raise TimeoutError(f"not true after {seconds} s; runs: {list(self.runs.values())}")
            time.sleep(0.05)
        return value

    # -- GraphQL: one method an operation ------------------------------------------------------------------------------

    def op_RunResumeStatus(self, asked: dict) -> dict:
        run = self.runs.get(asked["name"])
        return {"model": {**_project(asked["project"]), "bucket": run and _resumable(run)}}

    def op_UpsertBucket(self, asked: dict) -> dict:
        """wandb.init, and changes of the configuration: create or update a run."""
        name = asked.get("name") or asked["id"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, Run(name, asked.get("project") or ""))
        run.state = asked.get("state") or "running"
        for theirs, ours in FIELDS.items():
            if asked.get(theirs):
                setattr(run, ours, asked[theirs])
        given = json.loads(asked.get("config") or "{}")
        run.metrics = given.pop("_wandb", {}).get("value", {}).get("m", run.metrics)
        run.config |= {key: entry["value"] for key, entry in given.items()}
        run.summary |= json.loads(asked.get("summaryMetrics") or "{}")
        return {"upsertBucket": {"bucket": {**_node(run), "project": _project(run.project)}, "inserted": inserted}}

    def op_CreateRunFiles(self, asked: dict) -> dict:
        files = [{"name": file, "uploadUrl": f"{self.url}/upload/{asked['run']}/{file}"} for file in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    # -- the rest ------------------------------------------------------------------------------------------------------

    def file_stream(self, run: Run, body: dict) -> dict:
        for name, chunk in (body.get("files") or {}).items():
            lines, offset = chunk["content"], chunk["offset"]
            if name == "wandb-history.jsonl":
                run.history[offset : offset + len(lines)] = [json.loads(line) for line in lines]
            elif name == "wandb-summary.json":
                run.summary = json.loads(lines[-1])
        if body.get("preempting"):
            run.state, run.preempting = "preempting", True
        if body.get("complete"):
            run.exit_code = body.get("exitcode") or 0
            run.state = "failed" if run.exit_code else "finished"
        return {"exitcode": run.exit_code, "limits": {}}

    def answer(self, path: str, body: bytes) -> tuple[int, dict]:
        """HTTP status and JSON of one request; raises on what the stub does not know."""
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
        if path.startswith("/sdk/otel/"):  # telemetry
            return 200, {}
        raise LookupError(path)


def _project(name: str) -> dict:
    return {"id": name, "name": name, "internalId": "1", "entity": {"id": ENTITY, "name": ENTITY}}


def _node(run: Run) -> dict:
    config = {key: {"value": value} for key, value in run.config.items()}
    return {
        "__typename": "Run",
        "id": run.id,
        "name": run.id,
        "displayName": run.name,
        "projectId": "1",
        "sweepName": None,
        "tags": run.tags,
        "config": json.dumps(config),
        "summaryMetrics": json.dumps(run.summary),
        "historyLineCount": len(run.history),
    }


def _resumable(run: Run) -> dict:
    tail = json.dumps([json.dumps(row) for row in run.history[-1:]])
    lines = {"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]", "historyTail": tail}
    return {**_node(run), **lines, "wandbConfig": json.dumps({"t": 1})}


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
        content = json.dumps(answer).encode()
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer
