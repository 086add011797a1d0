"""Agreement of the instruments over cells, and each instrument beside its null, from counts added up by hand."""

import numpy as np
import pytest

from analysis.pictures.instrument_agreement_figures import MOST_CELLS, agreement
from analysis.plots import Ordered
from analysis.rates import wilson
from tests.analysis.plain_study import tables

SIZE = Ordered([1000, 2000], "params")


def rows(memorized, basin, seeds: int = 2, **more) -> list[dict]:
    """A cell for each entry, its counts in every seed; the first half has 1,000 parameters."""
    return [
        {"run_id": f"{k}-{seed}", "cell_id": f"c{k:02d}", "images_seen": 10,
         "params": 1000 if 2 * k < len(memorized) else 2000,
         "n_generated": 100, "n_memorized": m, "n_null_memorized": 1, "n_basin": 200, "n_basin_recovered": b,
         "n_null_basin": 50, "n_null_basin_recovered": 5, "n_ideal_basin_recovered": 180} | more
        for k, (m, b) in enumerate(zip(memorized, basin, strict=True)) for seed in range(seeds)
    ]  # fmt: skip


def named(found, name: str):
    return next(figure for figure in found if figure.name == name)


def test_a_reversed_ranking_is_minus_one_and_an_equal_one_plus_one():
    for basin, rho in (((50, 40, 30, 20, 10), -1), ((10, 20, 30, 40, 50), 1)):
        found = named(agreement(tables(rows((1, 2, 3, 4, 5), basin)), SIZE, {}, 0.95), "agreement_cells")
        (mark,) = found.marks
        assert f"rho {rho}.00" in mark.said and "n = 5 cells" in mark.said and len(mark.runs) == 10
        assert found.figure.axes[0].texts[0].get_text().startswith(f"{rho}.00")
        assert found.figure.axes[0].texts[0].get_position() == (mark.x, mark.y) == (0, 1)


def test_only_intervals_that_exclude_no_relation_are_bold():
    rng = np.random.default_rng(0)
    m = np.arange(30)
    found = named(agreement(tables(rows(m, m + rng.integers(0, 5, 30))), SIZE, {}, 0.95), "agreement_cells")
    assert found.figure.axes[0].texts[0].get_fontweight() == "bold"
    found = named(agreement(tables(rows(m, rng.permutation(m))), SIZE, {}, 0.95), "agreement_cells")
    assert found.data["lo"].item() < 0 < found.data["hi"].item()
    assert found.figure.axes[0].texts[0].get_fontweight() == "normal" and "± 0.19" in found.caption


def test_instruments_stand_beside_null_and_ceiling():
    found = named(agreement(tables(rows((10, 20), (30, 60))), SIZE, {}, 0.95), "agreement_beside_null")
    table = found.data.set_index(["instrument", "cell_id"])
    for (name, cell), hits, trials, null, ceiling in (
        (("n_memorized", "c00"), 20, 200, 0.01, np.nan), (("n_basin_recovered", "c01"), 120, 400, 0.1, 0.9),
    ):  # fmt: skip
        row = table.loc[(name, cell)]
        known = [float(v) for v in wilson(hits, trials)]
        np.testing.assert_allclose(row[["rate", "lo", "hi", "null", "ceiling"]].astype(float), [*known, null, ceiling])
        mark = next(m for m in found.marks if m.x == row["rate"])
        assert mark.runs == tuple(f"{int(cell[1:])}-{seed}" for seed in (0, 1)) and f"of {trials}" in mark.said
    axes = found.figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["memorized", "basin"]
    null = next(line for line in axes.lines if line.get_marker() == "|")
    assert sorted(null.get_xdata().tolist()) == pytest.approx([0.01, 0.01, 0.1, 0.1])
    assert "basin 2 of 2" in found.alt


def test_many_cells_are_thinned_from_least_to_most_and_that_is_said():
    found = named(agreement(tables(rows(range(40), range(40), seeds=1)), SIZE, {}, 0.95), "agreement_beside_null")
    shown = found.data[found.data["instrument"] == "n_memorized"]["hits"]
    assert len(shown) == MOST_CELLS and {0, 39} <= set(shown) and f"Shown: {MOST_CELLS} of 40 cells" in found.caption


def test_too_few_cells_and_nothing_counted_are_said():
    found = agreement(tables(rows((1, 2), (3, 4))), SIZE, {}, 0.95)
    assert [figure.name for figure in found] == ["agreement_beside_null"]
    said = agreement(tables(rows((1, 2), (3, 4), n_memorized=None, n_basin_recovered=None)), SIZE, {}, 0.95)
    assert "4 or more cells" in said and "none counts successes" in said


def test_zero_everywhere_ranks_nothing_and_stands_at_its_interval():
    found = agreement(tables(rows((0,) * 5, (0,) * 5)), SIZE, {}, 0.95)
    (beside,) = found
    assert (beside.data["rate"] == 0).all() and (beside.data["hi"] > 0).all()
