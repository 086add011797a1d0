"""The maps: tiles are the pooled rates of their runs, and the boundary lies where the planted law has the rate."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from analysis.pictures.map_figures import maps
from analysis.pictures.phase_lines import phase_line
from analysis.pictures.rate_map_plot import LINES, rate_words, tile_edges
from analysis.plots import Ordered
from analysis.rates import wilson
from analysis.summary import study_fits
from tests.analysis.asked_study import SIZES, TRUTH, logit_f, of_rows, study

PLANS = [(256, (1, 2, 4, 8, 16, 32, 64, 128))]
SIZE = Ordered(SIZES, "params")


def law(x, y):
    return 1 / (1 + np.exp(9 - 0.6 * np.log(x) - 0.9 * np.log(y)))


def fitted(tables) -> dict:
    return {found.name: found for found in study_fits(tables, draws=20, level=0.95, seed=0)[0]}


def drawn(figure, rate: float, panel: int = 0) -> np.ndarray:
    """The points [k 2] of the boundary of `rate` in a panel of the figure."""
    color = LINES[rate][0]
    lines = [
        one for one in figure.axes[panel].lines if to_hex(one.get_color()).upper() == color and one.get_linewidth() > 1
    ]
    return np.concatenate([one.get_xydata() for one in lines])


def test_a_straight_boundary_is_found_exactly_and_dashed_outside_the_cells():
    """logit f = -9 + .6 ln x + .9 ln y is 0 on y = exp(10) x^(-2/3); cells reach from 1,000 to 1e6 and from 1 to 64."""
    found = phase_line(0.5, law, (np.array([1e3, 1e6]), np.array([1.0, 64])), ((3e2, 3e6), (0.3, 200)))
    points = np.concatenate([piece.points for piece in found.pieces])
    np.testing.assert_allclose(points[:, 1], np.exp(10) * points[:, 0] ** (-2 / 3), rtol=1e-9)
    assert [piece.extrapolated for piece in found.pieces] in ([True, False, True], [False, True], [True, False])
    for piece in found.pieces:
        inside = np.all((piece.points >= [1e3, 1]) & (piece.points <= [1e6, 64]), axis=1)
        assert inside[1:].all() if not piece.extrapolated else not inside[1:].any()
    for before, after in zip(found.pieces, found.pieces[1:], strict=False):
        np.testing.assert_array_equal(before.points[-1], after.points[0])  # no gap


def test_a_rate_the_law_never_has_there_gives_no_line():
    assert phase_line(0.999, law, (np.array([10.0, 20]), np.array([1.0, 2])), ((10, 20), (1, 2))).pieces == []


def test_the_ends_are_those_between_which_the_resampled_laws_lie():
    """Laws shifted by -1 … 1: their 95 % boundaries are those of shifts of ∓ .95."""
    shifts = np.linspace(-1, 1, 201)

    def draws(x, y):
        return 1 / (1 + np.exp(9 + shifts[:, None] - 0.6 * np.log(x) - 0.9 * np.log(y)))

    found = phase_line(0.5, law, (np.array([1e3, 1e6]), np.array([1.0, 64])), ((1e3, 1e6), (1, 64)), draws=draws)
    shift = np.concatenate([0.6 * np.log(end[:, 0]) + 0.9 * np.log(end[:, 1]) - 9 for end in found.ends])
    np.testing.assert_allclose(np.unique(shift.round(3)), [-0.95, 0.95], atol=0.01)


def test_tiles_meet_halfway_in_logarithms():
    np.testing.assert_allclose(tile_edges(np.array([1.0, 2, 8])), 2.0 ** np.array([-0.5, 0.5, 2, 4]))


@pytest.fixture(scope="module")
def planted():
    return study(np.random.default_rng(3), plans=PLANS, seeds=3, chains=4000, luck=0.05)


def test_the_boundary_passes_where_the_planted_law_has_the_rate(planted):
    (found,) = maps(planted, SIZE, fitted(planted), 0.95)
    for rate, logit in ((0.5, 0.0), (0.01, np.log(0.01 / 0.99))):
        points = drawn(found.figure, rate)
        assert len(points) > 10
        truth = [logit_f(TRUTH, params=x, copies=y) for x, y in points]
        np.testing.assert_allclose(truth, logit, atol=0.25)


def test_marks_and_rows_are_the_counts_of_their_runs(planted):
    """By a loop over rows: the rate, interval and runs of each tile; the number in the tile is the rate in percent."""
    (found,) = maps(planted, SIZE, {}, 0.95)
    tiles = {}
    for row in planted.strata.to_dict("records"):
        hits, trials, runs = tiles.get((row["params"], row["copies"]), (0, 0, set()))
        key, chains = (row["params"], row["copies"]), row["n_basin"]
        tiles[key] = hits + row["n_basin_recovered"], trials + chains, runs | {row["run_id"]}
    assert len(found.marks) == len(found.data) == len(tiles) == 32
    printed = {text.get_position(): text.get_text() for text in found.figure.axes[0].texts}
    for mark, row in zip(found.marks, found.data.to_dict("records"), strict=True):
        hits, trials, runs = tiles[mark.x, mark.y]
        assert set(mark.runs) == runs == set(row["runs"].split()) and f"n = {len(runs)} runs" in mark.said
        known = wilson(hits, trials)
        assert (row["rate"], row["lo"], row["hi"]) == pytest.approx([float(v) for v in known])
        assert printed[mark.x, mark.y] == rate_words(hits / trials) and mark.said.startswith(rate_words(hits / trials))
    assert "n = 12 runs" in found.caption and "No law could be fitted" in found.caption


def test_training_sets_of_unlike_size_are_panels_with_one_scale():
    """Twice the images at slope -1: each panel has the boundary of its own n_unique, on the axes of all."""
    truth = TRUTH | {"b_0": -5.0, "n_unique": -1.0}
    plans = [(n, (1, 2, 4, 8, 16, 32)[:k]) for n, k in ((128, 4), (256, 6), (512, 6))]
    tables = study(np.random.default_rng(4), truth=truth, plans=plans, seeds=3, chains=4000, luck=0.05)
    (found,) = maps(tables, SIZE, fitted(tables), 0.95)
    *panels, bar = found.figure.axes
    assert [axes.get_title() for axes in panels] == [f"{n} unique images" for n in (128, 256, 512)]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1 and bar.get_label() == "<colorbar>"
    for panel, n in enumerate((128, 256, 512)):
        truths = [logit_f(truth, params=x, copies=y, n_unique=n) for x, y in drawn(found.figure, 0.5, panel)]
        assert len(truths) > 10
        np.testing.assert_allclose(truths, 0, atol=0.25)
        shown = {(mark.x, mark.y) for mark in found.marks if mark.axes is panels[panel]}
        assert shown == {(p, r) for p in SIZES for r in dict(plans)[n]}
    assert "n_unique 128, 256 and 512 (3 of 3 settings)" in found.caption and "n = 36 runs" in found.caption
    assert found.data.groupby("n_unique").size().to_dict() == {128: 16, 256: 24, 512: 24}


def test_a_training_set_of_one_size_or_too_many_sets_are_no_panels():
    one = study(np.random.default_rng(4), plans=[*PLANS, (512, PLANS[0][1])])
    few = one.strata[(one.strata["n_unique"] == 256) | (one.strata["params"] == SIZES[0])]
    (found,) = maps(replace(one, strata=few), SIZE, {}, 0.95)
    assert len(found.figure.axes) == 2 and "n_unique 256" in found.caption and "(one of 2)" in found.caption
    many = study(np.random.default_rng(4), plans=[(n, (1, 4)) for n in (64, 128, 256, 512, 1024)])
    (found,) = maps(many, SIZE, {}, 0.95)
    assert len(found.figure.axes) == 2 and "(one of 5)" in found.caption


def cells(rates: dict[tuple, float], seeds: int = 2, n: int = 1000, n_unique: int = 64) -> list[dict]:
    """(params, n_train) -> memorized share, at 64 unique images."""
    return [
        {"run_id": f"{p}-{n_train}-{seed}", "cell_id": f"{p}-{n_train}", "seed": seed, "images_seen": 5000, "params": p,
         "n_unique": n_unique, "n_train": n_train, "duplication_rate": 1 - n_unique / n_train, "copies": 1,
         "design": "none" if n_train == n_unique else "uniform",
         "n_generated": n, "n_memorized": round(n * f)}
        for (p, n_train), f in rates.items() for seed in range(seeds)
    ]  # fmt: skip


RATES = {(1000, 64): 0.01, (1000, 128): 0.1, (9000, 64): 0.2, (9000, 128): 0.6, (9000, 512): 0.9}


def test_no_duplication_has_its_place_and_an_empty_cell_stays_white():
    (found,) = maps(of_rows(cells(RATES)), SIZE, {}, 0.95)
    assert found.name == "map_memorized"
    ticks = dict(zip(found.figure.axes[0].get_yticks(), found.figure.axes[0].get_yticklabels(), strict=True))
    assert {place: label.get_text() for place, label in ticks.items()} == {1: "0", 2: "0.5", 8: "0.88"}
    assert {(mark.x, mark.y) for mark in found.marks} == {(p, n_train / 64) for p, n_train in RATES}


def test_rates_of_zero_are_drawn_without_a_boundary():
    tables = of_rows(cells(dict.fromkeys(RATES, 0.0)))
    (found,) = maps(tables, SIZE, fitted(tables), 0.95)
    assert len(found.marks) == 5 and {text.get_text() for text in found.figure.axes[0].texts} == {"0"}
    assert not found.figure.axes[0].lines


@pytest.mark.parametrize("rows", [
    cells({(1000, 64): 0.1, (1000, 128): 0.2}), cells({(1000, 64): 0.1}),
    [row | {"n_memorized": None, "duplication_rate": None} for row in cells(RATES)],
    # Two rates, but of two training sets: what the second rate does cannot be told from what the images do.
    [*cells({(p, 64): 0.1 for p in (1000, 9000)}), *cells({(p, 256): 0.4 for p in (1000, 9000)}, n_unique=128)],
])  # fmt: skip
def test_one_size_one_cell_or_no_counts_are_said(rows):
    said = maps(of_rows(rows), SIZE, {}, 0.95)
    assert isinstance(said, str) and "two or more of each" in said


@pytest.mark.parametrize(("rate", "said"), [(0, "0"), (0.00041, "0.04"), (0.0123, "1.2"), (0.1234, "12"), (1, "100")])
def test_rates_are_short(rate, said):
    assert rate_words(rate) == said
