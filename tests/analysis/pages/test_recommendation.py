"""Advice from planted studies: the size, the stopping point and the careful end of each limit are known."""

import re

import numpy as np
import pandas
import pytest

from analysis.pages.headlines import boundary
from analysis.pages.recommendation import for_placed, recommendations, when_to_stop, which_size
from analysis.table import validated
from tests.analysis.asked_study import study

RNG = np.random.default_rng(0)
SIZES = (1_000, 4_000, 16_000, 64_000)
CLOCK = (1_000, 2_000, 4_000, 8_000, 16_000)


def evals(floors, *, turn=4_000, seeds=3, noise=0.0, se=0.001, clock=CLOCK, memorized=lambda size, t: 0):
    """Runs whose hold-out loss is lowest at `turn`, at `floors` by size."""
    rng, rows = np.random.default_rng(5), []
    for size, floor in zip(SIZES, floors, strict=True):
        for seed in range(seeds):
            luck = noise * rng.standard_normal()
            for t in clock:
                loss = floor + luck + 0.1 * abs(np.log2(t / turn))
                rows.append({"run_id": f"{size}-{seed}", "cell_id": f"{size}", "seed": seed, "params": size,
                             "images_seen": t, "holdout_loss": loss, "holdout_loss_se": se, "n_unique": 64,
                             "n_train": 64, "family": "unet", "design": "none", "conditioning": "none",
                             "n_generated": 100, "n_memorized": memorized(size, t),
                             "config": '{"train": {"images": 16000, "lr_schedule": "constant"}}'})  # fmt: skip
    return validated(pandas.DataFrame(rows), "evals", where="planted evals")[0]


def answer(question, *, value=None, lo=None, hi=None, extrapolated=False, why=""):
    return {"question": question, "answerable": value is not None, "value": value, "lo": lo, "hi": hi,
            "extrapolated": extrapolated, "why": why, "unit": ""}  # fmt: skip


@pytest.mark.parametrize(
    ("floors", "size"),
    [
        ((0.5, 0.4004, 0.41, 0.4), "4\u202f000"),
        ((0.5, 0.45, 0.42, 0.4), "64\u202f000"),
        ((0.4, 0.5, 0.6, 0.7), "1\u202f000"),
    ],
)
def test_the_smallest_size_as_good_as_the_best_is_chosen(floors, size):
    """Runs scatter by .001, so means of three differ by .0008: .0004 apart is equal, .01 is not."""
    said, rows = which_size(evals(floors, noise=0.001))
    assert said.startswith(f"For the best hold-out loss: {size} parameters")
    assert set(rows["params"]) == {int(size.replace("\u202f", ""))}
    assert ("larger ones may be better" in said) == (size.startswith("64"))


def test_runs_at_another_rate_are_another_setting():
    """The same sizes, seeds and images at half the rate, worse by .1: neither pooled nor a reason to say nothing."""
    rows = evals((0.5, 0.45, 0.42, 0.4)).assign(lr=5e-3, width=16)
    half = rows.assign(run_id=rows["run_id"] + "-half", holdout_loss=rows["holdout_loss"] + 0.1, lr=2.5e-3)
    both = pandas.concat([rows, half[half["seed"] < 2]], ignore_index=True)
    both["config"] = [f'{{"train": {{"lr": {rate}, "lr_width_exponent": 0}}}}' for rate in both["lr"]]
    said, _ = which_size(both)
    assert said.startswith("For the best hold-out loss: 64\u202f000 parameters (0.4 at its lowest point")
    assert "one of 2" in said


def test_of_two_training_sets_the_larger_one_is_advised_on():
    """Who trains on images of his own trains on all of them, though the smaller set memorizes more."""
    small = evals((0.4, 0.5, 0.6, 0.7), memorized=lambda size, t: min(99, size // 1_000))
    large = evals((0.5, 0.45, 0.42, 0.4)).assign(n_unique=256, n_train=256)
    both = pandas.concat([small, large.assign(run_id=large["run_id"] + "-large")], ignore_index=True)
    said, rows = which_size(both)
    assert said.startswith("For the best hold-out loss: 64\u202f000") and set(rows["n_unique"]) == {256}


def test_a_limit_far_outside_with_one_end_is_no_advice():
    """A law drawn out: `at most 16 parameters (no limit to 145 000)` helps nobody."""
    open_ended = answer("max_params", value=16.2, hi=145_000.0, extrapolated=True)
    said = dict(recommendations(evals((0.5, 0.45, 0.42, 0.4)), [open_ended], 0.95, RNG))["Which size?"]
    assert "cannot tell; the law's limit lies outside these data" in said and "16 parameters" not in said
    assert boundary([open_ended], 0.95).startswith("Where memorization vanishes cannot be told")


def test_luck_shared_by_the_sizes_of_a_seed_does_not_hide_a_difference():
    """Each seed has a luck of .05 on all its sizes: within a seed the sizes differ by .02, which pairing tells."""
    rows = evals((0.5, 0.45, 0.42, 0.4))
    luck = rows["seed"].map({0: -0.05, 1: 0.0, 2: 0.05})
    said, _ = which_size(rows.assign(holdout_loss=rows["holdout_loss"] + luck))
    assert "64\u202f000 parameters" in said


def test_runs_that_differ_more_than_their_standard_errors_say_are_told_apart_by_their_scatter():
    """Runs scatter by .03, thirty times holdout_loss_se: .01 between the means of three is nothing."""
    said, _ = which_size(evals((0.9, 0.41, 0.405, 0.4), noise=0.03))
    assert "4\u202f000 parameters" in said and "64\u202f000 parameters" not in said


def test_stop_where_the_hold_out_loss_turns():
    said = when_to_stop(evals((0.4,) * 4, memorized=lambda size, t: 100 * (t > 4_000)), 0.9, RNG)
    assert "lowest at 4\u202f000 images seen (its turn lies between 2\u202f000 and 8\u202f000 in 12 runs)" in said
    assert "There 0 % of the samples are memorized (within 0 % to 2.6 %, the outermost ends" in said
    assert "runs' 90 % intervals)" in said  # Wilson's upper end of 0 of 100 is z²/(100 + z²), z = 1.645


def test_a_loss_that_still_falls_gives_no_stopping_point():
    assert when_to_stop(evals((0.4,) * 4, turn=64_000), 0.9, RNG).startswith("Cannot tell")
    assert when_to_stop(evals((0.4,) * 4).iloc[:0], 0.9, RNG).startswith("Cannot tell")


def test_the_careful_end_of_each_limit_is_advised():
    known = [answer("max_copies", value=4, lo=2.5, hi=7), answer("min_unique", value=500, lo=300, hi=900),
             answer("max_params", value=9_000, lo=None, hi=2e4, extrapolated=True)]  # fmt: skip
    copies, images, size, _ = (said for _, said in recommendations(evals((0.4,) * 4), known, 0.95, RNG))
    assert "at most 4 copies of an image (the limit: 2.5 to 7); at most 2 to be on the safe side" in copies
    assert "at least 500 unique images (the limit: 300 to 900); at least 900 to be on the safe side" in images
    assert "by parameters: cannot tell; the law's limit lies outside these data, its careful end open" in size


def test_what_cannot_be_told_says_why():
    known = [answer("max_copies", why="not answerable from these data: copies is 1 in every row")]
    copies, images, size, stop = (said for _, said in recommendations(evals((0.4,) * 4)[:0], known, 0.95, RNG))
    assert "cannot tell: copies is 1 in every row" in copies and "cannot tell" in images
    assert "cannot tell, it takes hold-out losses of two or more sizes" in size and stop.startswith("Cannot tell")


def test_a_loss_that_still_falls_asks_for_longer_training():
    assert "in 12 of 12 it still fell at the end: train longer" in when_to_stop(
        evals((0.4,) * 4, turn=64_000), 0.9, RNG
    )


PLACED_TRUTH = {"b_0": -3.0, "params": 0.5, "n_unique": -1.1}


def placed(*models: tuple[str, float | None]) -> pandas.DataFrame:
    rows = [{"run_id": name, "images_seen": None, "params": size} for name, size in models]
    return validated(pandas.DataFrame(rows), "evals", where="placed evals")[0]


def test_how_many_images_at_the_placed_models_size_is_the_closed_form():
    """logit .01 = -3 + .5 ln params - 1.1 ln n: 10,405 parameters take 286 unique images."""
    tables = study(np.random.default_rng(0), truth=PLACED_TRUTH, luck=0.0, samples=100_000,
                   plans=tuple((n, (1,)) for n in (64, 128, 256, 512, 1024)))  # fmt: skip
    models = placed(("mine", 10405), ("other", 10405), ("unknown", None))
    sized, unsized = for_placed(models, tables, level=0.9, draws=30, seed=0)
    assert sized[0] == "How many images at the 10\u202f405 parameters of placed model mine, other?"
    value = float(re.search(r"at least (\d+) unique images \(", sized[1])[1])
    exact = np.exp((-3 + 0.5 * np.log(10405) - np.log(0.01 / 0.99)) / 1.1)
    assert exact == pytest.approx(286, abs=1) and value == pytest.approx(exact, rel=0.02)
    assert "to be on the safe side" in sized[1]
    assert unsized[0] == "How many images for placed model unknown?" and "--params" in unsized[1]


def test_a_size_of_which_the_surface_knows_nothing_says_why():
    one_size = study(np.random.default_rng(0), truth=PLACED_TRUTH, luck=0.0, samples=100_000, params=(2743,),
                     plans=tuple((n, (1,)) for n in (64, 256, 1024)))  # fmt: skip
    ((_, said),) = for_placed(placed(("mine", 10405)), one_size, level=0.9, draws=30, seed=0)
    assert "cannot tell: params is not a variable of this surface (it is 2\u202f743 in every row)" in said
