"""Large studies on synthetic run folders: fast paths give what the plain ones give. Timings: benchmarks/scale.py."""

import json
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import yaml

import scaling.collect
from benchmarks.synthetic_runs import REASONS, make_runs, state_at, sweep
from scaling.collect import collect
from scaling.config import ConfigError, load
from scaling.identity import run_id
from scaling.overview import of_folder, of_sweep
from scaling.schema import IDENTITY, NESTED, RECORDS, TABLES
from scaling.status import main as status
from scaling.sweep.grid import expand

CELLS = 300
SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """(sweep file, its cells, folder of their runs)."""
    folder = tmp_path_factory.mktemp("study")
    sweep(folder / "sweep.yaml", CELLS, folder / "runs")
    cells = expand(folder / "sweep.yaml").cells
    make_runs(cells, folder / "runs")
    return folder / "sweep.yaml", cells, folder / "runs"


def plain_rows(runs):
    """Rows of evals.jsonl line by line, with the standard library alone; images through pandas' neighbour."""
    found = {table: [] for table in TABLES}
    for folder in sorted(runs.iterdir()):
        lines = [json.loads(line) for line in (folder / RECORDS).read_text().splitlines()]
        for record in sorted(lines, key=lambda record: record["evals"]["images_seen"]):
            found["evals"].append(record["evals"])
            identity = {c.name: record["evals"][c.name] for c in IDENTITY}
            for table in NESTED:
                found[table] += [{**identity, **row} for row in record[table]]
        found["images"] += parquet.read_table(folder / "images.parquet").to_pylist()
    return found


def test_tables_in_bulk_are_those_read_line_by_line(study, tmp_path, monkeypatch):
    _, cells, runs = study
    monkeypatch.setattr(scaling.collect, "PART", 100)
    made = collect([runs], tmp_path)
    assert made.runs == sum(state_at(at) != "pending" for at in range(len(cells)))
    for table, rows in plain_rows(runs).items():
        written = parquet.read_table(tmp_path / f"{table}.parquet")
        assert written.column_names == [column.name for column in TABLES[table]]
        assert len(rows) == made.rows[table] > 0
        assert written.equals(pa.Table.from_pylist(rows, schema=written.schema))


def test_one_process_writes_the_same_bytes_as_several(study, tmp_path, monkeypatch):
    _, _, runs = study
    monkeypatch.setattr(scaling.collect, "PART", 60)
    one = collect([runs], tmp_path / "one")
    monkeypatch.setattr(scaling.collect, "ALONE", 0)
    monkeypatch.setattr(scaling.collect, "cores", lambda: 2)
    assert collect([runs], tmp_path / "several") == one
    for path in (tmp_path / "several").iterdir():
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes(), path.name


def test_status_counts_every_cell_and_each_reason_once(study, capsys):
    path, cells, runs = study
    overview = of_sweep(cells)
    assert overview.counts == Counter(state_at(at) for at in range(len(cells)))
    assert {why: len(failed) for why, failed in overview.reasons} == Counter(
        REASONS[at % len(REASONS)] for at in range(len(cells)) if state_at(at) == "failed"
    )
    assert overview.seconds_left > 0
    in_folder = of_folder(runs).counts
    assert in_folder == {state: n for state, n in overview.counts.items() if state != "pending"}
    assert status([str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) <= 24, "more than a screenful"


def test_shared_sections_give_the_cells_that_an_agent_would_train(tmp_path):
    """params becomes a width that depends on the image size; each cell against scaling.train with its flags."""
    axes = {
        "model.params": [10000, 30000],
        "data.image_size": [8, 16],
        "train.sigma.law": ["lognormal"],
        "data.duplication.fraction": [0.1, 0.5],
        "seed": [0, 7],
    }
    flags = ["--model.family=mlp", "--data.n_unique=100"]
    flags += ["--data.duplication.design=uniform", "--data.duplication.copies=4"]
    tree = {
        "method": "grid",
        "command": ["python", "-m", "scaling.train", *flags, "${args}"],
        "parameters": {key: {"values": values} for key, values in axes.items()},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    cells = expand(tmp_path / "sweep.yaml", ["--seed=7", "--train.images=6400"]).cells
    assert len(cells) == 8, "a later flag wins over the axis, and equal cells are one"
    assert len({(cell.config.data.image_size, cell.config.model.width) for cell in cells}) == 4
    for cell in expand(tmp_path / "sweep.yaml").cells:
        config = load([*flags, *(f"--{word}" for word in cell.label.split())])
        assert cell.config == config and cell.run_id == run_id(config)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_identity_of_every_shipped_cell_is_that_of_its_configuration(path, monkeypatch):
    monkeypatch.chdir(path.parents[1])
    for cell in expand(path).cells:
        assert cell.run_id == run_id(cell.config)


def test_a_bad_value_among_many_whole_numbers_is_named(tmp_path):
    """Only the first whole number of an axis is parsed as a flag; the others must be checked all the same."""
    tree = {
        "method": "grid",
        "command": ["python", "-m", "scaling.train", "${args}"],
        "parameters": {"seed": {"values": [0, 1, -5]}, "model.width": {"values": [4, 8]}},
    }
    for key, values, says in (("seed", [0, 1, -5], "seed=-5"), ("model.width", [4, 0], "model.width=0")):
        tree["parameters"][key] = {"values": values}
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(tree))
        with pytest.raises(ConfigError, match=says):
            expand(tmp_path / "sweep.yaml")
        tree["parameters"][key] = {"values": values[:1]}


def test_collecting_while_runs_are_written_gives_whole_rows_of_what_there_is(study, tmp_path):
    """A writer replays twenty runs record by record, with torn lines in between; every collect is a part of the end."""
    _, _, runs = study
    whole = {folder.name: folder for folder in sorted(runs.iterdir())[:20]}
    begun, out = threading.Event(), tmp_path / "runs"

    def write():
        for name, folder in whole.items():
            (out / name).mkdir(parents=True)
            for file in ("config.yaml", "samples.npz", "images.parquet", "status.json"):
                (out / name / file).write_bytes((folder / file).read_bytes())
            with open(out / name / RECORDS, "ab", buffering=0) as file:
                for line in (folder / RECORDS).read_bytes().splitlines(keepends=True):
                    file.write(line[:1000])
                    file.write(line[1000:])
            begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait(60)
    found, last = [], False
    while not last:
        last = not writer.is_alive()
        collect([out], tmp_path / "tables")
        found.append(
            {table: parquet.read_table(tmp_path / "tables" / f"{table}.parquet").to_pylist() for table in TABLES}
        )
    writer.join()
    assert found[-1]["evals"] == plain_rows(out)["evals"]
    for before, after in pairwise(found):
        for table in ("evals", "strata"):
            rows = [json.dumps(row) for row in after[table]]
            assert set(map(json.dumps, before[table])) <= set(rows)
    counts = Counter(row["run_id"] for row in found[0]["strata"])
    assert {n % 4 for n in counts.values()} == {0}, "an evaluation has four strata: never a part of them"
