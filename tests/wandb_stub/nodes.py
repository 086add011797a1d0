"""Answers in the form of the server's GraphQL types."""

import json

ENTITY = "stub-team"
CREATED = "2026-01-01T00:00:00Z"


def project_node(name: str) -> dict:
    return {"id": name, "name": name, "internalId": "1", "entity": {"id": ENTITY, "name": ENTITY}}


def run_node(run) -> dict:
    keys = sorted({key for row in run.history for key in row})
    return {
        "__typename": "Run",
        "id": run.id,
        "name": run.id,
        "displayName": run.name,
        "projectId": "1",
        "sweepName": run.sweep,
        "state": run.state,
        "exitcode": run.exit_code,
        "tags": run.tags,
        "group": run.group,
        "jobType": run.job_type,
        "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
        "historyLineCount": len(run.history),
        "historyKeys": {
            "lastStep": run.history[-1]["_step"] if run.history else -1,
            "sets": [],
            "keys": {key: {"typeCounts": [{"type": "number"}], "monotonic": False} for key in keys},
        },
        "commit": None,
        "notes": None,
        "description": None,
        "readOnly": False,
        "createdAt": CREATED,
        "heartbeatAt": CREATED,
        "user": {"name": "stub-user", "username": "stub-user"},
        "shouldStop": False,
        "failed": run.state == "failed",
        "stopped": False,
        "running": run.state == "running",
        "sampledHistory": [],
    }


def sweep_node(sweep, runs: list) -> dict:
    empty = dict.fromkeys(("description", "heartbeatAt", "updatedAt", "bestLoss", "controller", "scheduler"))
    return {
        **empty,
        "__typename": "Sweep",
        "id": sweep.id,
        "name": sweep.id,
        "displayName": sweep.spec.get("name"),
        "state": sweep.state,
        "method": sweep.spec.get("method"),
        "config": sweep.text,
        "createdAt": CREATED,
        "earlyStopJobRunning": False,
        "priorRuns": {"edges": []},
        "runs": {"edges": [{"node": run_node(run), "cursor": run.id} for run in runs]},
        "runCount": len(runs),
        "runCountExpected": None,
    }
