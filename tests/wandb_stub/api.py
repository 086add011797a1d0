"""What `wandb.Api()` asks: runs by filter, in pages, and the whole history of one.

The history of a run that ended is exported to a parquet file, as the server does it; what is newer comes as JSON rows.
"""

import io
import json

import pyarrow as pa
import pyarrow.parquet as parquet

from tests.wandb_stub.nodes import run_node
from tests.wandb_stub.runs import Run

ATTRIBUTES = {"sweep": "sweep", "name": "id", "state": "state", "group": "group", "jobType": "job_type"}


class ApiOperations:
    """exported: how many of a run's first rows are in its parquet file. sampled: how often a sample was asked for.
    views: the workspaces that were kept."""

    runs: dict[str, Run]
    url: str

    def __init__(self) -> None:
        self.exported: dict[str, int] = {}
        self.sampled = 0
        self.views: list[dict] = []

    def op_Runs(self, asked: dict) -> dict:
        filters = json.loads(asked.get("filters") or "{}")
        found = [run for run in self.runs.values() if run.project == asked["project"] and _matches(run, filters)]
        start = next((at + 1 for at, run in enumerate(found) if run.id == asked.get("cursor")), 0)
        page = found[start : start + asked.get("perPage", 50)]
        more = {"endCursor": page[-1].id if page else None, "hasNextPage": start + len(page) < len(found)}
        edges = [{"node": run_node(run), "cursor": run.id} for run in page]
        runs = {"edges": edges, "pageInfo": more}
        return {"project": {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": runs}}

    def op_Run(self, asked: dict) -> dict:
        run = self.runs.get(asked["name"])
        return {"project": {"internalId": "1", "run": run and run_node(run)}}

    op_RunHistoryKeys = op_Run

    def op_RunFullHistory(self, asked: dict) -> dict:
        """run.history(): despite its name a sample, of 500 rows unless told."""
        self.sampled += 1
        rows = self.runs[asked["name"]].history[:: max(1, len(self.runs[asked["name"]].history) // 500)]
        return {"project": {"run": {"history": [json.dumps(row) for row in rows], "events": []}}}

    def op_RunParquetHistory(self, asked: dict) -> dict:
        run = self.runs[asked["runName"]]
        exported = self.exported.get(run.id, 0)
        urls = [f"{self.url}/parquet/{run.id}"] if exported else []
        return {"project": {"run": {"parquetHistory": {"parquetUrls": urls, "liveData": run.history[exported:]}}}}

    def op_HistoryPage(self, asked: dict) -> dict:
        """run.scan_history(): the rows of a range of steps that are in no parquet file yet."""
        rows = self.runs[asked["run"]].history[self.exported.get(asked["run"], 0) :]
        wanted = [json.dumps(row) for row in rows if asked["minStep"] <= row["_step"] < asked["maxStep"]]
        return {"project": {"run": {"history": wanted[: asked["pageSize"]]}}}

    def op_UpsertView2(self, asked: dict) -> dict:
        self.views.append(asked)
        return {"upsertView": {"view": {"id": f"view{len(self.views)}", "name": asked["name"]}, "inserted": True}}

    def parquet_file(self, run: Run) -> bytes:
        rows = run.history[: self.exported[run.id]]
        keys = sorted({key for row in rows for key in row if not isinstance(row[key], dict)})
        content = io.BytesIO()
        parquet.write_table(pa.table({key: [row.get(key) for row in rows] for key in keys}), content)
        return content.getvalue()


def _matches(run: Run, filters: dict) -> bool:
    """The part of the filters' language that asks for equality."""
    for key, wanted in filters.items():
        if key == "$and":
            if not all(_matches(run, each) for each in wanted):
                return False
        elif getattr(run, ATTRIBUTES[key]) != wanted:
            return False
    return True
