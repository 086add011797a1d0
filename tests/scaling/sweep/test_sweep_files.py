from math import log10
from pathlib import Path

import pytest

from scaling.config import build, given, load
from scaling.data.duplication import plan
from scaling.forecasts.forecast import forecast
from scaling.sweep.grid import expand

ROOT = Path(__file__).parents[3]
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))
OVERLAYS = sorted((ROOT / "configs").glob("*/*.yaml"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_loads_and_its_data_can_be_made(path):
    plan(load([f"--config={path}"]).data)


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_overlay_loads_and_its_data_can_be_made(path):
    base = ["--config=configs/digits.yaml"]
    if path.parent.name == "flush_out":
        base.append("--config=configs/flush_out/reference.yaml")
    plan(build(given([*base, f"--config={path}"])).data)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_expands_to_distinct_cells_whose_data_can_be_made(path):
    grid = expand(path)
    assert grid.notes == []
    assert len({cell.run_id for cell in grid.cells}) == len(grid.cells) > 1
    assert all(forecast(cell.config).disk.kept > 0 for cell in grid.cells)


def test_the_studies_of_the_design_are_there():
    wanted = {
        "quickstart",
        "memorization",
        "double_descent",
        "epochwise",
        "counterfactual",
        "flush_out",
        "context",
        "instruments",
    }
    assert wanted <= {path.stem for path in SWEEPS}


def test_the_quickstart_has_four_sizes_four_copies_and_two_seeds():
    configs = [cell.config for cell in expand(ROOT / "sweeps" / "quickstart.yaml").cells]
    assert len({config.model.width for config in configs}) >= 4 and len({config.seed for config in configs}) == 2
    assert all(len(set(plan(config.data).copies)) >= 4 for config in configs)


def test_memorization_spans_two_decades_of_weights_in_six_sizes():
    cells = [
        cell for name in ("memorization", "memorization_wide") for cell in expand(ROOT / f"sweeps/{name}.yaml").cells
    ]
    sizes = {forecast(cell.config).work.params for cell in cells}
    assert len(sizes) >= 6 and log10(max(sizes) / min(sizes)) > 2
    assert len({cell.config.seed for cell in cells}) >= 3


def test_contexts_of_one_number_of_copies_share_n_train():
    cells = expand(ROOT / "sweeps" / "context.yaml").cells
    assert {forecast(cell.config).work.n_train for cell in cells} == {1024}


def test_the_cost_of_every_gpu_sweep_is_told_as_forecast():
    page, told = (ROOT / "docs" / "sweeps.md").read_text(), 0
    for path in SWEEPS:
        if not path.stem.endswith("_gpu"):
            continue
        work = [forecast(cell.config).work for cell in expand(path).cells]
        sizes, cost = [one.params for one in work], sum(one.train_flops for one in work)
        hours = cost / 1e14 / 3600
        told_of = f"{len(work)} | {min(sizes):,} to {max(sizes):,} | {cost / 1e15:,.0f} | {hours:.0f}"
        assert f"| `sweeps/{path.name}` | {told_of} |" in page
        told += 1
    assert told == page.count("_gpu.yaml` |") == 6
