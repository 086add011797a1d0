import numpy as np
import pandas
import pytest

from analysis.bits import bits_against
from analysis.columns import TableError

N, HELD = 400, 400
Z90 = 1.6449


def table(run: str, density: np.ndarray, saw: np.ndarray, copies: np.ndarray, **columns) -> pandas.DataFrame:
    rows = {
        "run_id": run, "data_sha256": "ab" * 32, "image_id": [f"{k:016x}" for k in range(len(density))],
        "in_training": saw, "copies": copies, "log_density_bound": density,
    }  # fmt: skip
    return pandas.DataFrame({**rows, **columns})


def study(rng: np.random.Generator, *, gain: float = 0.0, noise: float = 2.0) -> pandas.DataFrame:
    """400 training images (half with 4 copies) and 400 held-out ones of spread 30 nats; the reference was trained with
    the first 100. The run gains `gain` nats on images with 4 copies that the reference did not see."""
    image = 30 * rng.standard_normal(N + HELD)
    seen = np.arange(N + HELD) < N
    copies = np.where(seen, np.where(np.arange(N + HELD) % 2, 4, 1), 0)
    reference_saw = np.arange(N + HELD) < 100
    memory = gain * (seen & (copies == 4) & ~reference_saw)
    run = image + memory + noise * rng.standard_normal(N + HELD)
    other = image + noise * rng.standard_normal(N + HELD)
    return pandas.concat(
        [table("run", run, seen, copies), table("ref", other, reference_saw, 2 * reference_saw)], ignore_index=True
    )


def row(found: pandas.DataFrame, who: str, copies: float = np.nan) -> pandas.Series:
    same = found.copies.isna() if np.isnan(copies) else found.copies == copies
    return found[(found.reference_saw == who) & same].iloc[0]


def test_by_hand():
    """Training gains of 3, -5 and 1 nats count as 3, 0, 1; held out 2, 0: 3 (4/3 - 1)/ln 2 bits, 1.44."""
    density, saw = np.array([3.0, -5, 1, 2, -9]), np.array([True, True, True, False, False])
    images = pandas.concat(
        [table("run", density, saw, 2 * saw), table("ref", np.zeros(5), saw & False, 0 * saw)], ignore_index=True
    )
    found = bits_against(images, "run", "ref")
    assert found.reference_saw.tolist() == ["any", "any", "without", "without"]
    first = found.iloc[0]
    assert first.bits == pytest.approx(1 / np.log(2))
    assert (first.n_images, first.n_trained, first.n_null) == (3, 3, 2)
    se = 3 * np.sqrt((7 / 3) / 3 + 2 / 2) / np.log(2)  # variances of 3, 0, 1 and of 2, 0
    assert first.se == pytest.approx(se)
    assert (first.lo, first.hi) == pytest.approx((first.bits - 1.959964 * se, first.bits + 1.959964 * se))


def test_nothing_memorized_is_0_in_every_group_and_the_interval_covers_it():
    """Null: 250 studies without memory; clipping alone would show .4 sd an image (.399 x 2 sqrt(2) nats x 400)."""
    rng, value, se = np.random.default_rng(0), {}, {}
    for _ in range(250):
        for r in bits_against(study(rng), "run", "ref").itertuples():
            value.setdefault((r.reference_saw, str(r.copies)), []).append(r.bits)
            se.setdefault((r.reference_saw, str(r.copies)), []).append(r.se)
    assert len(value) == 9
    for group in value:
        bits = np.array(value[group])
        assert abs(bits.mean()) < 3 * bits.std() / 250**0.5
        assert np.mean(np.abs(bits) < Z90 * np.array(se[group])) == pytest.approx(0.9, abs=3 * 0.019)


def test_what_the_run_memorized_is_found_where_it_is():
    """10 nats on 150 images with 4 copies that the reference did not see: 150 x 10/ln 2 = 2,164 bits, less the null's
    .399 sd an image, which images this far above 0 do not have; none in the other strata."""
    studies = [bits_against(study(np.random.default_rng(seed), gain=10.0), "run", "ref") for seed in range(20)]
    expected = 150 * (10 - 0.399 * 2 * 2**0.5) / np.log(2)
    most = pandas.DataFrame([row(found, "without", 4) for found in studies])
    assert (most.n_images == 150).all()
    assert most.bits.mean() == pytest.approx(expected, abs=3 * most.se.mean() / 20**0.5)
    assert ((most.lo < expected) & (expected < most.hi)).sum() >= 16
    found = studies[0]
    for who, copies in (("without", 1), ("with", 1), ("with", 4), ("with", np.nan)):
        quiet = row(found, who, copies)
        assert abs(quiet.bits) < 3 * quiet.se
    total = row(found, "any")
    assert total.bits == pytest.approx(sum(row(found, who).bits for who in ("with", "without")))
    assert total.bits == pytest.approx(sum(row(found, "any", copies).bits for copies in (1, 4)))


def test_only_images_measured_in_both_count():
    images = study(np.random.default_rng(2))
    whole = bits_against(images, "run", "ref")
    images.loc[[0, 3, 800 + 5, 700], "log_density_bound"] = np.nan
    found = bits_against(images.sample(frac=1, random_state=0), "run", "ref")  # the order of rows is no matter
    first = found.iloc[0]
    assert (first.n_images, first.n_trained, first.n_null) == (397, 400, 399)
    again = bits_against(images[images.image_id != "zz"], "run", "ref").iloc[0]
    assert first.bits == pytest.approx(again.bits) and first.bits != pytest.approx(whole.iloc[0].bits)


def test_an_image_held_out_by_one_run_alone_is_no_null():
    """The run never saw images 400 to 499, but the reference was trained with them: its gain there is no noise."""
    images = study(np.random.default_rng(3))
    images.loc[(images.run_id == "ref") & images.image_id.isin([f"{k:016x}" for k in range(400, 500)]), [
        "in_training", "log_density_bound",
    ]] = [True, -1e6]  # fmt: skip
    found = bits_against(images, "run", "ref").iloc[0]
    assert found.n_null == 300 and abs(found.bits) < 3 * found.se


def test_one_image_and_no_spread_leave_the_interval_empty():
    density, saw = np.array([3.0, 2, -9]), np.array([True, False, False])
    flat = [table("run", density, saw, saw), table("ref", np.zeros(3), saw & False, saw)]
    one = bits_against(pandas.concat(flat, ignore_index=True), "run", "ref").iloc[0]
    assert np.isnan(one.se) and np.isnan(one.lo) and one.bits == pytest.approx(2 / np.log(2))
    density, saw = np.array([-3.0, -2, -9, -4]), np.array([True, True, False, False])
    below = [table("run", density, saw, saw), table("ref", np.zeros(4), saw & False, saw)]
    none = bits_against(pandas.concat(below, ignore_index=True), "run", "ref").iloc[0]
    assert none.bits == 0 and np.isnan(none.se) and np.isnan(none.hi)


def altered(change) -> pandas.DataFrame:
    images = study(np.random.default_rng(0))
    change(images, images.run_id == "ref")
    return images


def other_draw(images, ref):
    images.loc[ref, "image_id"] = [f"{k:016x}" for k in range(5000, 5800)]


def other_holdout(images, ref):
    images.loc[ref & (np.arange(1600) >= 1200), "image_id"] = [f"{k:016x}" for k in range(5000, 5400)]


def other_pool(images, ref):
    images.loc[ref & (np.arange(1600) < 1200), "image_id"] = [f"{k:016x}" for k in range(5000, 5400)]


def put(column, value):
    def change(images, ref):
        images.loc[ref, column] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_draw, r"share no image.*data\.draw"),
        (other_holdout, r"0 measured image\(s\) that neither was trained on"),
        (other_pool, r"run run: none of its training images is measured in run ref"),
        (put("data_sha256", "cd" * 32), r"data_sha256: run run has abababababab, run ref cdcdcdcdcdcd"),
        (put("log_density_bound", np.nan), r"run ref: no log_density_bound.*evaluate\.measures"),
        (put("run_id", "other"), r"run ref: not in the images table, which holds other, run"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(change, said):
    with pytest.raises(TableError, match=said):
        bits_against(altered(change), "run", "ref")


def test_a_run_is_no_reference_of_itself():
    with pytest.raises(TableError, match="run run: it cannot be its own reference"):
        bits_against(study(np.random.default_rng(0)), "run", "run")


def test_missing_membership_is_refused():
    images = study(np.random.default_rng(0))
    images["in_training"] = images.in_training.astype(object)
    images.loc[3, "in_training"] = None
    with pytest.raises(TableError, match="run run: 1 images lack in_training"):
        bits_against(images, "run", "ref")


def test_one_sigma_min_a_comparison():
    """A copier's density grows as -d ln sigma_min: two of them do not compare. Early rows without the measure are no
    matter; a run never measured is."""
    images = study(np.random.default_rng(0))
    evals = pandas.DataFrame({"run_id": ["run", "run", "ref"], "sigma_min": [np.nan, 0.036, 0.036]})
    pandas.testing.assert_frame_equal(
        bits_against(images, "run", "ref", evals=evals), bits_against(images, "run", "ref")
    )
    with pytest.raises(TableError, match=r"sigma_min: run run has 0\.036, run ref 0\.002.*evaluate\.sigma_min"):
        bits_against(images, "run", "ref", evals=evals.assign(sigma_min=[0.036, 0.036, 0.002]))
    with pytest.raises(TableError, match="run ref: evals has 0 values of sigma_min"):
        bits_against(images, "run", "ref", evals=evals[:2])
