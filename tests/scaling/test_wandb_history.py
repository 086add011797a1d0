"""python -m scaling.collect --wandb, with the real wandb client against a server on the loopback."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling.config import build
from scaling.identity import cell_id, run_id
from scaling.schema import SCHEMA_VERSION, TABLES
from tests.wandb_stub.nodes import ENTITY
from tests.wandb_stub.runs import Run
from tests.wandb_stub.stub import WandbStub

ROOT = Path(__file__).resolve().parents[2]
SWEEP = {"method": "grid", "parameters": {"seed": {"values": [0]}}}


def history(config, points):
    """What a run logs: the record as text, its numbers beside it, and rows of other kinds between."""
    identity = {"run_id": run_id(config), "cell_id": cell_id(config), "seed": config.seed}
    versions = {"schema_version": SCHEMA_VERSION, "science_version": 1}
    for step, at in enumerate(points):
        evals = {**identity, **versions, "images_seen": at, "seen_loss": 1 / (1 + at)}
        record = {"evals": evals, "strata": [{"copies": 1, "n_images": 8}, {"copies": 2, "n_images": 8}]}
        yield {"_step": step, "images_seen": at, "seen_loss": evals["seen_loss"], "record": json.dumps(record)}


def add(stub, sweep, seed, points, state="finished"):
    config = build({"seed": seed})
    made = Run(f"w{seed}", sweep.project, sweep=sweep.id, state=state, history=list(history(config, points)))
    stub.runs[made.id] = made
    return config


def collect(stub, path, out, *options, **environment):
    command = [sys.executable, "-m", "scaling.collect", "--wandb", path, "--out", str(out), *options]
    env = stub.environ(**environment)
    return subprocess.run(command, env=env, cwd=ROOT, text=True, capture_output=True, timeout=120)


@pytest.fixture
def stub():
    with WandbStub() as server:
        yield server


@pytest.mark.slow
def test_the_whole_history_of_every_run_arrives(stub, tmp_path):
    """1,203 evaluations, of which a sample would have 500, half of them exported to parquet; 205 runs, more than a page
    of them; one of another sweep."""
    sweep, other = stub.create_sweep(SWEEP), stub.create_sweep(SWEEP)
    long = add(stub, sweep, 0, range(0, 1203 * 64, 64), state="running")
    stub.runs["w0"].history.insert(7, {"_step": 7, "loss": 1.0})
    for step, row in enumerate(stub.runs["w0"].history):
        row["_step"] = step
    stub.exported["w0"] = 600
    for seed in range(1, 205):
        add(stub, sweep, seed, [0])
    add(stub, other, 300, [0])
    done = collect(stub, sweep.path, tmp_path / "tables", "--csv")
    assert (done.returncode, done.stderr, stub.unanswered, stub.sampled) == (0, "", [], 0), done.stdout
    assert "1 W&B run(s) running: included as far as they are" in done.stdout
    assert "images.parquet has no rows and gallery.npz is empty" in done.stdout
    assert "205 runs: 1,407 evals, 2,814 strata, 0 noise_levels, 0 prompts, 0 images rows" in done.stdout
    evals = pd.read_parquet(tmp_path / "tables" / "evals.parquet")
    assert list(evals[evals.run_id == run_id(long)].images_seen) == list(range(0, 1203 * 64, 64))
    assert list(evals.run_id.unique()) == sorted(run_id(build({"seed": seed})) for seed in range(205))
    assert np.array_equal(evals.seen_loss, 1 / (1 + evals.images_seen))
    for table, columns in TABLES.items():
        assert list(pd.read_parquet(tmp_path / "tables" / f"{table}.parquet").columns) == [c.name for c in columns]
        assert (tmp_path / "tables" / f"{table}.csv").exists()


def test_no_run_is_one_line(stub, tmp_path):
    sweep = stub.create_sweep(SWEEP)
    done = collect(stub, sweep.path, tmp_path / "tables")
    assert (done.returncode, done.stderr.count("\n"), (tmp_path / "tables").exists()) == (2, 1, False)
    assert done.stderr.startswith(f"scaling.collect: --wandb {sweep.path}: none of its 0 run(s) has an evaluation")


@pytest.mark.parametrize("path", [f"{ENTITY}/study/nothing", "sw1", "a/b/c/d"])
def test_an_unknown_sweep_is_one_line(stub, tmp_path, path):
    done = collect(stub, path, tmp_path / "tables")
    assert (done.returncode, done.stderr.count("\n"), (tmp_path / "tables").exists()) == (2, 1, False)
    says = "W&B answers: Could not find sweep" if path.startswith(ENTITY) else "give ENTITY/PROJECT/SWEEP"
    assert done.stderr.startswith(f"scaling.collect: --wandb {path}: {says}")


def test_without_a_key_it_says_so_and_asks_nobody(stub, tmp_path):
    env = stub.environ()
    del env["WANDB_API_KEY"]
    command = [sys.executable, "-m", "scaling.collect", "--wandb", f"{ENTITY}/study/sw1", "--out", str(tmp_path / "t")]
    pipes = dict(stdin=subprocess.DEVNULL, capture_output=True)
    done = subprocess.run(command, env=env, cwd=ROOT, text=True, timeout=60, **pipes)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"scaling.collect: --wandb {ENTITY}/study/sw1: no W&B API key found; run `wandb login`, or set WANDB_API_KEY\n"
    )


@pytest.mark.parametrize("when", ["before", pytest.param("while it is read", marks=pytest.mark.slow)])
def test_a_server_that_is_down_is_one_line_and_no_tables(tmp_path, when):
    servers = []

    def before(operation):
        if operation == "RunHistoryKeys":
            servers[0].stopped = True

    with WandbStub(before=before) as server:
        servers.append(server)
        sweep = server.create_sweep(SWEEP)
        add(server, sweep, 0, [0])
        if when == "before":
            server.stop()
        start = time.monotonic()
        done = collect(server, sweep.path, tmp_path / "tables")
        assert time.monotonic() - start < 90
    assert (done.returncode, done.stderr.count("\n"), (tmp_path / "tables").exists()) == (2, 1, False), done.stderr
    assert done.stderr.startswith(f"scaling.collect: --wandb {sweep.path}: ")


def test_a_record_against_the_schema_is_one_line_that_names_its_run(stub, tmp_path):
    sweep = stub.create_sweep(SWEEP)
    add(stub, sweep, 0, [0])
    stub.runs["w0"].history[0]["record"] = '{"evals": {"run_id": "../x"}}'
    done = collect(stub, sweep.path, tmp_path / "tables")
    assert (done.returncode, done.stderr.count("\n"), (tmp_path / "tables").exists()) == (2, 1, False)
    assert done.stderr.startswith("scaling.collect: W&B run w0: ")


@pytest.mark.parametrize("arguments", [[], ["runs", "--wandb", "e/p/s"]])
def test_folders_or_a_sweep_and_not_both(tmp_path, arguments):
    command = [sys.executable, "-m", "scaling.collect", *arguments, "--out", str(tmp_path / "tables")]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 2 and "give the folder of the runs, or --wandb ENTITY/PROJECT/SWEEP" in done.stderr
