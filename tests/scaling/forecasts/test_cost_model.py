"""The cost model on timings whose truth is known: it finds the costs, learns from runs, and knows how far it is off."""

import numpy as np
import pytest

from scaling.config import build
from scaling.forecasts.cost_model import LEVEL, SPREAD, Timing, fit
from scaling.forecasts.run_work import TERMS, run_work
from scaling.forecasts.server_core import SECONDS, START_SECONDS

KNOWN = np.array([SECONDS[term] for term in TERMS])
WIDTHS, BATCHES, SIZES = (2, 4, 8, 16, 32, 64), (16, 64, 256), (8, 16)


def work(width, batch=64, size=8, **more):
    return run_work(
        build(
            {
                "model": {"width": width, **more},
                "train": {"images": 50_000, "batch_size": batch},
                "data": {"image_size": size, "n_unique": 128},
            }
        )
    )


def grid():
    found = [work(width, batch, size) for width in WIDTHS for batch in BATCHES for size in SIZES]
    return found + [work(width, family=family) for width in (16, 64) for family in ("mlp", "dit")]


def timed(works, costs, rng=None, noise=0.0):
    """Timings of a machine with these costs."""
    made = []
    for one in works:
        amounts = one.stretches()
        luck = 1.0 if rng is None else np.exp(noise * rng.standard_normal(len(amounts)))
        made.append(Timing(amounts, amounts @ costs * luck))
    return made


def machine(rng):
    """A machine that is not the server core: three times as slow, each term by a factor of its own."""
    return KNOWN * 3 * np.exp(0.5 * rng.standard_normal(len(KNOWN)))


def error(model, one, costs):
    """|ln| of the forecast over the truth."""
    return abs(np.log((model.seconds(one.total()).value - START_SECONDS) / (one.total() @ costs)))


def test_without_runs_the_known_constants_speak():
    model, one = fit([]), work(16)
    assert np.allclose(model.costs, KNOWN) and model.shapes == 0 and model.spread == SPREAD
    found = model.seconds(one.total())
    assert found.value == pytest.approx(one.total() @ KNOWN + START_SECONDS)
    assert 1.7 < found.hi / found.value < 3 and found.lo * found.hi == pytest.approx(found.value**2)


def test_exact_timings_give_their_costs():
    """Terms that take a share worth measuring somewhere in the grid are found to 15 %; every total to 5 %."""
    costs, works = machine(np.random.default_rng(0)), grid()
    model = fit(timed(works, costs))
    share = np.array([one.stretches() * costs / (one.stretches() @ costs)[:, None] for one in works]).max(axis=(0, 1))
    weighty = share > 0.4
    assert weighty.sum() >= 4
    assert np.abs(np.log(model.costs / costs))[weighty].max() < 0.15
    assert max(error(model, one, costs) for one in works) < 0.05


def test_a_machine_that_waits_at_every_step_is_found_out():
    """Seconds written down without the model's amounts: 6 ms a step and 8e-12 s a FLOP of an image.

    Batches of 16 to 256 at widths 16 to 64, each forecast from the others: without a cost of the step itself, the small
    batches would be off by far.
    """

    def seconds(one):
        return np.diff([0, *one.steps]) * (6e-3 + 3 * one.batch_size * one.forward_flops * 8e-12) + 0.3

    works = [work(width, batch) for width in (16, 32, 48, 64) for batch in (16, 64, 256)]
    timings = [Timing(one.stretches(), seconds(one)) for one in works]
    for at, one in enumerate(works):
        found = fit(timings[:at] + timings[at + 1 :]).seconds(one.total()).value - START_SECONDS
        assert found == pytest.approx(seconds(one).sum(), rel=0.2)


def test_a_shape_that_was_never_run_is_met_within_a_fifth():
    """Leave one out over width, batch and image size, 10 % noise, a machine three times as slow as the constants."""
    rng = np.random.default_rng(1)
    costs, works = machine(rng), grid()
    timings = timed(works, costs, rng, 0.1)
    errors = [
        error(fit(timings[:at] + timings[at + 1 :]), one, costs) for at, one in enumerate(works) if at % 3 == 0
    ]  # fmt: skip
    assert np.median(errors) < 0.07 and max(errors) < 0.2


def test_errors_shrink_with_the_runs():
    rng = np.random.default_rng(2)
    mean = {count: [] for count in (0, 2, 6, 20)}
    for _ in range(8):
        costs, works = machine(rng), grid()
        order = rng.permutation(len(works))
        for count in mean:
            model = fit(timed([works[at] for at in order[:count]], costs, rng, 0.1))
            mean[count] += [error(model, works[at], costs) for at in order[20:]]
    found = [float(np.mean(values)) for values in mean.values()]
    assert found[0] > 0.5 and found == sorted(found, reverse=True) and found[-1] < 0.1


def test_the_range_holds_what_it_promises():
    """80 % of new shapes within it; the costs are those of the assumptions, drawn anew 40 times."""
    rng, inside = np.random.default_rng(3), []
    for _ in range(40):
        costs = KNOWN * np.exp(0.5 * rng.standard_normal() + 0.4 * rng.standard_normal(len(KNOWN)))
        works = grid()
        order = rng.permutation(len(works))
        model = fit(timed([works[at] for at in order[:8]], costs, rng, 0.1))
        for at in order[8:14]:
            truth = works[at].total() @ costs * np.exp(0.1 * rng.standard_normal()) + START_SECONDS
            found = model.seconds(works[at].total())
            inside.append(found.lo <= truth <= found.hi)
    assert LEVEL - 0.12 < np.mean(inside) < LEVEL + 0.15


def test_the_spread_is_the_error_on_shapes_left_out():
    """Oracle: the fit repeated without each shape."""
    rng = np.random.default_rng(4)
    timings = timed(grid()[::2], machine(rng), rng, 0.3)
    logs = []
    for at, timing in enumerate(timings):
        model = fit(timings[:at] + timings[at + 1 :])
        logs.append(np.log((timing.amounts.sum(axis=0) @ model.costs) / timing.seconds.sum()))
    wanted = np.sqrt((4 * SPREAD**2 + sum(np.square(logs))) / (4 + len(logs)))
    assert fit(timings).spread == pytest.approx(wanted, rel=0.1)


def test_one_run_beside_a_busy_neighbour_bends_nothing():
    rng = np.random.default_rng(5)
    costs, works = machine(rng), grid()
    timings = timed(works, costs, rng, 0.03)
    timings[7] = Timing(timings[7].amounts, 5 * timings[7].seconds)
    model = fit(timings)
    assert max(error(model, one, costs) for one in works) < 0.12


def test_replicates_count_as_one_shape_by_their_median():
    costs, one = machine(np.random.default_rng(6)), work(8)
    same = timed([one] * 3, costs)
    model = fit([same[0], same[1], Timing(same[2].amounts, 9 * same[2].seconds)])
    assert model.shapes == 1
    assert model.seconds(one.total()).value == pytest.approx(fit(same).seconds(one.total()).value, rel=1e-9)
