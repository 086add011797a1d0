"""Bytes in closed form, against run folders that were really written."""

import os

import pytest

from scaling import checkpoints
from scaling.config import build
from scaling.forecasts import disk
from scaling.forecasts.disk import Disk, check_room, free_bytes, run_disk, size, sweep_disk
from scaling.forecasts.run_work import run_work
from scaling.store import RunStore
from scaling.store_errors import StoreError

RUNS = [
    {"model": {"width": 4}, "evaluate": {"at": 3, "samples": 64}, "data": {"n_unique": 96, "holdout": 64}},
    {
        "model": {"family": "mlp", "width": 16},
        "train": {"optimizer": "sgd", "lr": 1e-3},
        "evaluate": {"at": 2, "samples": 32, "measures": ["loss", "neighbors", "prompts"], "rounds": 1, "prompts": 8},
        "data": {"n_unique": 60, "holdout": 200, "duplication": {"design": "spectrum", "levels": 4}},
    },
]


@pytest.mark.parametrize("tree", RUNS)
def test_a_run_folder_is_as_large_as_forecast(tmp_path, tree, monkeypatch):
    """Oracle: the files of a real run; its checkpoints, two generations, as they stand before the end."""
    from scaling.training import run

    evaluate = {**tree["evaluate"], "sampler_steps": 4, "draws": 4, "basin_images": 8}
    tree = {**tree, "train": {"images": 640, **tree.get("train", {})}, "evaluate": evaluate}
    tree["runtime"] = {"out": str(tmp_path), "device": "cpu"}
    config, seen = build(tree), []
    clear = checkpoints.Checkpoints.clear

    def look(self):
        seen.append(bytes_of(self.folder))
        clear(self)

    monkeypatch.setattr(checkpoints.Checkpoints, "clear", look)
    with RunStore.open(config) as store:
        run.train(config, store)
    found = run_disk(config, run_work(config))
    assert found.kept == pytest.approx(bytes_of(store.folder), rel=0.15)
    assert found.checkpoints == pytest.approx(seen[0], rel=0.15)
    assert checkpoints.GENERATIONS == disk.GENERATIONS


def bytes_of(folder):
    return sum(os.path.getsize(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)


def test_workers_keep_their_checkpoints_at_once():
    runs = [Disk(100, 10), Disk(200, 50), Disk(300, 40)]
    assert [sweep_disk(runs, workers) for workers in (1, 2, 8)] == [650, 690, 700]
    assert sweep_disk([], 2) == 0


def test_too_little_room_is_refused_and_a_tight_fit_is_told(tmp_path):
    free = free_bytes(tmp_path / "not" / "yet")
    assert check_room(free // 2, tmp_path) is None
    assert "make room" in check_room(int(1.1 * free), tmp_path / "new")
    with pytest.raises(StoreError, match=r"out=.*new: the runs need about .*B and .*B are free there; make room"):
        check_room(2 * free, tmp_path / "new")


def test_sizes_in_words():
    assert [size(count) for count in (0, 999, 1_500_000, 4e15)] == ["0 B", "999 B", "1.5 MB", "4,000.0 TB"]
