"""What a study's committed table holds: its runs, and the configuration that a run can be trained with again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.columns import EVALS, SCHEMA_VERSION, SchemaError
from scaling.config import build
from scaling.fields import ExperimentConfig
from scaling.identity import SCIENCE_VERSION, run_id
from scaling.limits import Refused, parse_json, read_parquet
from scaling.store_errors import StoreError

Run = Sequence[Mapping[str, Any]]  # the evals rows of one run by images_seen
FILE = "evals.parquet"
REQUIRED = ("run_id", "cell_id", "seed", "images_seen", "data_sha256", "train_flops", "config", "schema_version")


def committed_runs(tables: Path) -> dict[str, Run]:
    """By run_id, of TABLES/evals.parquet or else of all TABLES/parts/*/evals.parquet.

    Raises StoreError where there is no such file, SchemaError on one that is no table of evaluations.
    """
    whole = tables / FILE
    files = [whole] if whole.exists() else sorted(tables.glob(f"parts/*/{FILE}"))
    if not files:
        raise StoreError(
            f"{tables}: holds neither {FILE} nor parts/*/{FILE}; name a folder that scaling.collect wrote, "
            f"as results/memorization"
        )
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for file in files:
        for row in _rows(file):
            key = row["run_id"], row["images_seen"]
            if key in found:
                raise SchemaError(f"{file}: run {key[0]} at images_seen={key[1]} is there twice; keep one of the rows")
            found[key] = row
    runs: dict[str, list[dict[str, Any]]] = {}
    for (run, _), row in sorted(found.items()):
        runs.setdefault(run, []).append(row)
    return {**runs}


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        table = read_parquet(file)
    except (Refused, OSError) as error:
        raise SchemaError(f"{file}: {error}; collect the runs again") from None
    for name in REQUIRED:
        if name not in table.column_names or table[name].null_count:
            raise SchemaError(f"{file}: {name} is missing or empty in a row; without it no run can be repeated")
    if len(table) and (newest := max(table["schema_version"].to_pylist())) > SCHEMA_VERSION:
        raise SchemaError(f"{file}: schema_version {newest} is newer than {SCHEMA_VERSION}; update the code")
    known = [column.name for column in EVALS if column.name in table.column_names]
    rows: list[dict[str, Any]] = table.select(known).to_pylist()
    return rows


def configuration(run: Run, out: Path) -> ExperimentConfig:
    """The configuration of a committed run, to be trained below `out`.

    Raises Refused or ConfigError on what is no configuration, SchemaError where it is another run's.
    """
    last = run[-1]
    tree = parse_json(last["config"])
    if not isinstance(tree, dict):
        raise Refused(f"run {last['run_id']}: its configuration is no mapping")
    config = build({**tree, "runtime": {"out": str(out)}})
    if run_id(config) != last["run_id"]:
        version = last.get("science_version")
        raise SchemaError(
            f"run {last['run_id']}: its configuration is that of run {run_id(config)} (science_version {version} in "
            f"the table, {SCIENCE_VERSION} in this code); restore the table, or use the code that wrote it"
        )
    return config
