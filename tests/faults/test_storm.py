"""Faults on a sweep: at the end every cell has exactly the records it would have had, and nothing else is left."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from scaling.status_file import read_status
from scaling.store import RunStore
from scaling.sweep.grid import expand
from tests.faults.disturbed import environment, left_over, sweep_command
from tests.faults.grid import Study, content, records, write_study
from tests.faults.storm import Storm

MLP = {"model": {"family": "mlp", "width": 4}}
CELL_SECONDS = 8  # of training: faults come every few seconds, and a hundred of them must find cells that train


def overlays(images: int) -> list[dict]:
    """What the cells differ in; `images` is the length of an ordinary one, those that are faster a step see more."""
    return [
        {},
        {"data": {"n_unique": 32}},
        {"model": {"width": 3}},
        {"model": {"width": 3}, "data": {"n_unique": 32}},
        {"data": {"n_unique": 18, "duplication": {"design": "spectrum", "levels": 3}}},
        {"data": {"duplication": {"design": "uniform", "fraction": "1/4", "copies": 4}}},
        {"data": {"conditioning": "class"}},
        {"data": {"noise_draws": 2}},
        {"data": {"fold": {"index": 0}}},
        {"data": {"holdout": 24}},
        {"train": {"ema": None}},
        {"train": {"batch_size": 32, "images": 2 * images}},
        {"train": {"optimizer": "sgd", "lr": 0.01}},
        {"model": {"skips": "1/2"}},
        {"model": {"prune": "1/2"}},  # the training of the first: it may take its weights
        {"model": {"attention": True}},
        {"model": {"family": "mlp", "width": 8}, "train": {"images": 4 * images}},
        {"model": {"family": "dit", "width": 8}},
    ]


SCHEDULE = {
    "sigkill_worker": 16, "sigterm_worker": 10, "sigkill_driver": 3, "sigterm_driver": 3, "power_cut": 2,
    "second_driver": 2, "sigkill_training_child": 3, "sigterm_training_child": 3, "full_disk": 5, "torn_record": 12,
    "truncated_checkpoint": 9, "flipped_bit": 6, "torn_sheet": 6, "clock_back": 7, "clock_forward": 7,
    "removed_folder": 4, "owner_on_a_lost_host": 2,
}  # fmt: skip
SEED = 6


def undisturbed(study: Study, folder: Path) -> Path:
    runs = folder / "undisturbed"
    command = sweep_command(study, runs, workers=2)
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=1_800)
    assert done.returncode == bool(study.bad), done.stdout + done.stderr
    return runs


def undisturbed_here(study: Study, folder: Path) -> Path:
    """The same in this process, which has imported torch already."""
    from scaling.training.run import train

    for cell in expand(study.sweep, [f"--runtime.out={folder / 'undisturbed'}"]).cells:
        with RunStore.open(cell.config) as store:
            train(cell.config, store)
    return folder / "undisturbed"


def images_in(seconds: float, folder: Path) -> int:
    """Images that an ordinary cell trains on in so many seconds on this machine, in steps of 1,024; best of three.

    A storm over cells of a fixed length ends too early on a fast machine, and takes hours on a slow one.
    """
    spent = []
    for at, images in enumerate((512, 4608, 512, 4608, 512, 4608)):
        study = write_study(folder / f"study{at}", [{}], seeds=1, bad=False, images=images)
        started = time.monotonic()
        undisturbed_here(study, folder / str(at))
        spent.append(time.monotonic() - started)
    return max(1024 * int(seconds * 4096 / 1024 / (min(spent[1::2]) - min(spent[::2]))), 4096)


def lost_and_doubled(study: Study, runs: Path, calm: Path) -> tuple[list[str], list[str]]:
    """Good runs with a record or file that is missing or not the undisturbed one's, and runs with a record twice."""
    lost, doubled = [], []
    for cell in study.good:
        ours, theirs = records(runs / cell.run_id), records(calm / cell.run_id)
        if len({record["evals"]["images_seen"] for record in ours}) != len(ours):
            doubled.append(cell.run_id)
        ours = sorted(ours, key=lambda record: record["evals"]["images_seen"])
        if ours != theirs or content(runs / cell.run_id) != content(calm / cell.run_id):
            lost.append(cell.run_id)
    return lost, doubled


def untold(study: Study, runs: Path) -> list[str]:
    """Bad cells that are not failed, or do not say why."""
    states = {run: read_status(runs / run) for run in study.bad}
    return [
        f"{run}: {states[run]}"
        for run, why in study.bad.items()
        if states[run].get("state") != "failed" or why not in states[run]["reason"]
    ]


@pytest.mark.slow
def test_a_small_storm_loses_and_doubles_nothing(tmp_path):
    study = write_study(tmp_path / "study", [MLP, {**MLP, "data": {"n_unique": 32}}], seeds=3, bad=False)
    calm = undisturbed_here(study, tmp_path)
    storm = Storm(study, tmp_path / "storm", workers=2, seed=0)
    # No folder is removed here: that would take the damage of other faults along.
    schedule = dict(sigkill_worker=1, sigterm_worker=1, power_cut=1, torn_record=2, flipped_bit=2, clock_back=1)
    try:
        storm.rage(schedule)
        assert storm.finish() == 0, storm.told()
    finally:
        storm.end()
    assert lost_and_doubled(study, storm.runs, calm) == ([], []), storm.told()
    assert left_over(storm.runs, calm) == []


@pytest.fixture
def small_disk():
    """small_disk(folder): a file system of 48 MB there, if mounting is allowed."""
    mounted = []

    def mount(folder: Path) -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)]
        if os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0:
            mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_hundred_faults_lose_and_double_no_cell(tmp_path, small_disk, keep_table):
    images = images_in(CELL_SECONDS, tmp_path / "speed")
    study = write_study(tmp_path / "study", overlays(images), seeds=2, images=images)
    calm = undisturbed(study, tmp_path)
    storm, started = Storm(study, tmp_path / "storm", workers=4, seed=SEED), time.monotonic()
    small_disk(storm.runs)
    try:
        storm.rage(SCHEDULE)
        assert storm.finish() == 1, storm.told()  # the bad cells
    finally:
        storm.end()
    lost, doubled = lost_and_doubled(study, storm.runs, calm)
    assert (lost, doubled) == ([], []), storm.told()
    assert untold(study, storm.runs) == []
    assert left_over(storm.runs, calm) == []
    rows = [_row(name, storm.hit[name], lost, doubled) for name in SCHEDULE]
    hits = [hit for kind in storm.hit.values() for hit in kind]
    assert len(hits) == 100 and {name: len(storm.hit[name]) for name in SCHEDULE} == SCHEDULE
    minutes, cells = (time.monotonic() - started) / 60, len(study.good) + len(study.bad)
    keep_table(
        "fault_storm",
        f"{len(hits)} faults on a sweep of {cells} cells ({len(study.bad)} of them bad) with 4 workers, "
        f"started {storm.starts} times in {minutes:.0f} min; "
        f"{len(storm.again)} finished runs were removed to be trained again",
        [*rows, _row("all", hits, lost, doubled)],
        str(SEED),
    )


def _row(name: str, hits: Sequence[set[str]], lost: Sequence[str], doubled: Sequence[str]) -> dict[str, object]:
    cells = set().union(*hits)
    return {
        "fault": name.replace("_", " "), "count": len(hits), "cells hit": len(cells),
        "cells lost": len(cells & set(lost)), "cells doubled": len(cells & set(doubled)),
    }  # fmt: skip
