"""The server's runs: what wandb.init, logging, finish and `wandb sync` send, and what a resumed run is told."""

import json
from dataclasses import dataclass, field

from tests.wandb_stub.nodes import project_node, run_node

FIELDS = {  # of UpsertBucket -> of Run
    "project": "project",
    "sweep": "sweep",
    "groupName": "group",
    "tags": "tags",
    "jobType": "job_type",
    "displayName": "name",
}


@dataclass
class Run:
    """state: pending, running, finished, failed, crashed, preempting, preempted. opened: wandb.init was called for it.

    history: one mapping a logged row. metrics: define_metric's. given_out: how often an agent was told to start it.
    """

    id: str
    project: str
    name: str = ""
    sweep: str | None = None
    state: str = "running"
    opened: bool = False
    given_out: int = 0
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


class RunOperations:
    """One method a GraphQL operation, and the file stream."""

    runs: dict[str, Run]
    url: str

    def op_RunResumeStatus(self, asked: dict) -> dict:
        run = self.runs.get(asked["name"])
        bucket = _resumable(run) if run and run.opened else None
        return {"model": {**project_node(asked["project"]), "bucket": bucket}}

    def op_UpsertBucket(self, asked: dict) -> dict:
        """wandb.init, and changes of the configuration: create or update a run."""
        name = asked.get("name") or asked["id"]
        run = self.runs.setdefault(name, Run(name, asked.get("project") or ""))
        inserted, run.opened = not run.opened, True
        run.state = asked.get("state") or "running"
        for theirs, ours in FIELDS.items():
            if asked.get(theirs):
                setattr(run, ours, asked[theirs])
        given = json.loads(asked.get("config") or "{}")
        run.metrics = given.pop("_wandb", {}).get("value", {}).get("m", run.metrics)
        run.config |= {key: entry["value"] for key, entry in given.items()}
        run.summary |= json.loads(asked.get("summaryMetrics") or "{}")
        bucket = {**run_node(run), "project": project_node(run.project)}
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def op_CreateRunFiles(self, asked: dict) -> dict:
        files = [{"name": file, "uploadUrl": f"{self.url}/upload/{asked['run']}/{file}"} for file in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

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
            if run.exit_code and run.preempting and run.sweep:
                self.requeue(run)
        return {"exitcode": run.exit_code, "limits": {}}


def _resumable(run: Run) -> dict:
    tail = json.dumps([json.dumps(row) for row in run.history[-1:]])
    lines = {"logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]", "historyTail": tail}
    return {**run_node(run), **lines, "wandbConfig": json.dumps({"t": 1})}
