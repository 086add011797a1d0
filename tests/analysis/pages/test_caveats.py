"""Every caveat speaks where its trouble was planted and is silent where a study has none."""

import json

import numpy as np
import pytest

from analysis.pages import caveats
from analysis.summary import last_evaluations, study_fits
from analysis.table import Tables
from tests.analysis import asked_study
from tests.analysis.plain_study import tables

pytestmark = pytest.mark.filterwarnings("error")
SEEN = 64_000


def grid(params=(1000, 4000, 16000), n_unique=(64, 256), seeds=3, **columns) -> list[dict]:
    """A crossed design without copies: every size x amount of data x seed, each run at its end."""
    return [
        {"run_id": f"{p}-{n}-{s}", "cell_id": f"{p}-{n}", "seed": s, "draw": s, "params": p, "n_unique": n,
         "n_train": n, "copies": 1, "duplication_rate": 0.0, "images_seen": SEEN, "n_generated": 512,
         "n_memorized": 50, "n_null_memorized": 0, "protocol": "fixed_images", "image_size": 8,
         "code_version": "abc", "n_nonfinite": 0,
         "config": json.dumps({"seed": s, "train": {"images": SEEN, "epochs": None}})} | columns
        for p in params for n in n_unique for s in range(seeds)
    ]  # fmt: skip


def evals(rows: list[dict]):
    return tables(rows).evals


DETECTORS = (
    caveats.still_training, caveats.nulls_above_chance, caveats.confounded, caveats.few_replicates,
    lambda rows: caveats.censored(rows, np.random.default_rng(0)), lambda rows: caveats.mixed(rows, ["seed"]),
)  # fmt: skip


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_clean_study_has_no_caveat(detector):
    assert list(detector(evals(grid()))) == []


@pytest.mark.parametrize("detector", DETECTORS)
def test_columns_that_nobody_measured_raise_no_caveat_and_no_warning(detector):
    rows = [{"run_id": name, "images_seen": 100, "params": 1000} for name in "ab"]
    assert list(detector(evals(rows))) == []


# -- runs still training ------------------------------------------------------------------------------------------


def test_a_run_short_of_its_images_is_named():
    rows = grid()
    rows[4]["images_seen"] = SEEN - 64
    (said,) = caveats.still_training(evals(rows))
    assert said.startswith("1 of 18 runs") and rows[4]["run_id"] in said


def test_a_run_short_of_its_epochs_is_named():
    """Ten epochs of 64 and of 256 training images are 640 and 2,560."""
    config = json.dumps({"train": {"images": None, "epochs": 10}})
    rows = [row | {"images_seen": 10 * row["n_train"], "config": config} for row in grid()]
    assert list(caveats.still_training(evals(rows))) == []
    rows[0]["images_seen"] -= 64
    (said,) = caveats.still_training(evals(rows))
    assert rows[0]["run_id"] in said and said.startswith("1 of 18")


def test_a_last_batch_beyond_the_end_and_a_lost_configuration_are_no_run_in_training():
    rows = grid(images_seen=SEEN + 63)
    rows[0] |= {"config": None, "images_seen": 64}
    rows[1] |= {"config": json.dumps({"seed": 1}), "images_seen": 64}
    assert list(caveats.still_training(evals(rows))) == []


def test_of_many_runs_in_training_five_are_listed():
    (said,) = caveats.still_training(evals(grid(images_seen=64)))
    assert "18 of 18 runs" in said and said.count("-64-") + said.count("-256-") == 5 and "and 13 more" in said


# -- nulls --------------------------------------------------------------------------------------------------------


def test_a_null_above_chance_is_said_with_its_interval():
    """20 of 1,024: 2.0 %, Wilson's 95 % is 1.27 % to 3.0 %; 14 of 1,024 (.82 % to 2.3 %) is not told from 1 %."""
    rows = grid(params=(1000,), n_unique=(64,), seeds=2)
    assert list(caveats.nulls_above_chance(evals([row | {"n_null_memorized": 7} for row in rows]))) == []
    (said,) = caveats.nulls_above_chance(evals([row | {"n_null_memorized": 10} for row in rows]))
    assert "null of memorized samples is 2.0 % (1.3 % to 3.0 %)" in said


@pytest.mark.parametrize(
    ("hits", "trials", "said"),
    [("n_null_calibrated", "n_generated", "calibrated"), ("n_null_basin_recovered", "n_null_basin", "basin recovery"),
     ("n_null_prompt_recovered", "n_null_prompts", "prompts")],
)  # fmt: skip
def test_every_null_is_looked_at_on_its_own_trials(hits, trials, said):
    (found,) = caveats.nulls_above_chance(evals(grid(n_memorized=0, **{trials: 40, hits: 20})))
    assert said in found and "50 %" in found


# -- confounded ---------------------------------------------------------------------------------------------------


def paired(first: str, second: str, pairs) -> list[dict]:
    return [
        grid((1000,), (64,), 1)[0] | {first: a, second: b, "run_id": f"r{k}", "cell_id": f"c{k}"}
        for k, (a, b) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("pairs", "r"),
    [
        ([(1000, 64), (4000, 256), (16000, 1024)], "1.00"),  # a power law: exact in logarithms
        ([(1000, 1024), (4000, 256), (16000, 64)], "-1.00"),
        ([(1000, 64), (4000, 300), (16000, 900), (64000, 4000)], "1.00"),
        ([(1000, 64), (4000, 256)], "1.00"),  # two cells, in which two things differ
    ],
)
def test_two_columns_that_move_together_are_said(pairs, r):
    (said,) = caveats.confounded(evals(paired("params", "images_seen", pairs)))
    assert said.startswith("params and images_seen move together") and f"correlation {r}" in said


def test_a_crossed_design_and_one_that_is_only_partly_together_are_not_confounded():
    """A corner more in a 2 x 2 grid: correlation of the logarithms at most .71."""
    pairs = [(1000, 64), (1000, 256), (4000, 64), (4000, 256), (16000, 256)]
    assert list(caveats.confounded(evals(paired("params", "n_unique", pairs)))) == []


def test_amounts_that_are_one_by_definition_are_no_confounding():
    """Without copies n_train is n_unique; the duplication rate follows from copies. With a fixed n_unique, n_train and
    copies do move together, and training sets of more copies are longer too."""
    assert list(caveats.confounded(evals(grid()))) == []
    rows = [row for r in (1, 4, 16) for row in grid(
        n_unique=(64,), copies=r, n_train=64 * r, duplication_rate=1 - 1 / r)]  # fmt: skip
    for row in rows:
        row["run_id"], row["cell_id"] = f"{row['run_id']}-{row['copies']}", f"{row['cell_id']}-{row['copies']}"
    (said,) = caveats.confounded(evals(rows))
    assert said.startswith("copies and n_train")


def test_no_copies_at_all_is_a_value_and_not_a_warning():
    """copies 0 has no logarithm; a column with a gap is left out."""
    rows = paired("params", "copies", [(1000, 0), (2000, 1), (3000, 2)])
    (said,) = caveats.confounded(evals(rows))
    assert said.startswith("params and copies")
    rows[1]["copies"] = None
    assert list(caveats.confounded(evals(rows))) == []


# -- replicates ---------------------------------------------------------------------------------------------------


def test_few_seeds_and_few_draws_are_said():
    assert list(caveats.few_replicates(evals(grid(seeds=3)))) == []
    few, draws = caveats.few_replicates(evals(grid(seeds=1)))
    assert "Cells have 1 run (" in few and "Only 1 draw of the images" in draws
    some, draws = caveats.few_replicates(evals(grid(seeds=3, draw=7)[:-1] + grid(params=(9,), seeds=2, draw=8)))
    assert "2 to 3 runs" in some and "Only 2 draws of the images" in draws
    (draws,) = caveats.few_replicates(evals(grid(seeds=3, draw=7)))
    assert "Only 1 draw of" in draws


# -- fits ---------------------------------------------------------------------------------------------------------


def missed(found: Tables) -> list[str]:
    fits, _ = study_fits(found, draws=2, level=0.95, seed=0)
    return [said for said in caveats.poor_fits(found, fits) if "poor fit" in said]


def test_a_threshold_that_the_logistic_law_misses_is_said(monkeypatch):
    """Recovered 0.7 % below params x copies = 500,000 and half above: no logistic curve rises to a plateau of 1/2."""
    monkeypatch.setattr(asked_study, "logit_f", lambda truth, **x: -5.0 if x["copies"] * x["params"] < 500_000 else 0.0)
    for luck in (0.15, 0.6):
        said = missed(asked_study.study(np.random.default_rng(1), luck=luck))
        assert any(one.startswith("Recovery of a stratum's images: poor fit at params") for one in said)


@pytest.mark.slow
def test_studies_made_from_the_law_are_no_poor_fits():
    """40 studies whose truth is the fitted law, with runs that differ by .15 and by .6 in the logit."""
    found = [
        missed(asked_study.study(np.random.default_rng(seed), luck=0.15 if seed % 2 else 0.6)) for seed in range(40)
    ]
    assert sum(bool(said) for said in found) <= 2


def test_the_scatter_of_replicates_is_pearsons():
    """Rates .4 and .6 of 100 at one place: 2 x 100 x .1^2 / .25 = 8 over one degree of freedom; all or none adds no
    place, and equal rates are never narrower than binomial."""
    rates, at = np.array([0.4, 0.6, 1.0, 1.0]), np.array([0, 0, 1, 1])
    inflation = caveats._variance_inflation
    assert inflation(rates, np.full(4, 100.0), np.array([0.5, 1.0]), at) == pytest.approx(8)
    assert inflation(np.array([0.5, 0.5]), np.full(2, 100.0), np.array([0.5]), at[:2]) == 1
    assert inflation(np.array([0.5]), np.full(1, 100.0), np.array([0.5]), at[:1]) == 1


def test_few_clusters_and_the_message_of_a_fit_are_said():
    few = asked_study.study(np.random.default_rng(0), seeds=1)  # four runs
    fits, _ = study_fits(few, draws=20, level=0.95, seed=0)
    assert any("4 runs are few to resample" in said for said in caveats.poor_fits(few, fits))
    nothing = asked_study.study(np.random.default_rng(0), truth={"b_0": -60.0})
    fits, _ = study_fits(nothing, draws=20, level=0.95, seed=0)
    said = list(caveats.poor_fits(nothing, fits))
    assert len(said) == 2 and all("there is no success" in one and not one.endswith("..") for one in said)


# -- censored onsets, mixtures, what is missing -------------------------------------------------------------------


def trained(counts: dict[str, tuple[int, ...]]) -> list[dict]:
    """Runs with so many memorized of 512 at 0, 1,000, 2,000 … images seen."""
    return [
        {"run_id": run, "cell_id": run, "images_seen": 1000 * k, "params": 1000, "n_generated": 512,
         "n_memorized": hits, "config": json.dumps({"train": {"lr_schedule": "constant"}})}
        for run, found in counts.items() for k, hits in enumerate(found)
    ]  # fmt: skip


def test_onsets_outside_what_was_looked_at_are_counted():
    onset, never, at_once = (0, 0, 60, 200), (0, 0, 0, 0), (0, 200, 300, 400)
    rng = np.random.default_rng(0)
    assert list(caveats.censored(evals(trained({"a": onset, "b": onset})), rng)) == []
    (said,) = caveats.censored(evals(trained({"a": onset, "b": never, "c": never, "d": at_once})), rng)
    assert said.startswith("Censored: of 4 runs 2 had not begun to memorize")
    assert "1 memorized at the first evaluation already" in said


def test_one_evaluation_a_run_is_no_censored_onset():
    assert list(caveats.censored(evals(grid(n_memorized=0)), np.random.default_rng(0))) == []


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [("protocol", ("fixed_epochs", "fixed_images"), "Several protocols are in one report: fixed_epochs, fixed_images."),
     ("image_size", (8, 16), "Several image sizes"), ("code_version", ("abc", "def"), "Several code versions"),
     ("images_seen", (SEEN, 2 * SEEN), "stand at 2 different images_seen")],
)  # fmt: skip
def test_what_was_mixed_is_said(column, values, said):
    rows = [row | {column: values[k % 2]} for k, row in enumerate(grid())]
    (found,) = caveats.mixed(last_evaluations(evals(rows)), ["seed", "model.params"])
    assert said in found


def test_keys_that_no_curve_explains_are_named_and_replicates_are_not():
    varied = [
        "seed",
        "data.draw",
        "data.fold.index",
        "data.duplication.rotate",
        "evaluate.at",
        "model.width",
        "train.weight_decay",
        "model.attention",
    ]
    (said,) = caveats.mixed(evals(grid()), varied)
    assert said == "Runs also differ in train.weight_decay, model.attention; the curves pool over that."


def test_samples_that_were_not_finite_are_counted():
    (said,) = caveats.mixed(evals(grid(n_nonfinite=100)), [])
    assert said.startswith("1\u202f800 samples were not finite")


def test_instruments_that_nobody_used_are_named_and_the_used_are_not():
    (said,) = caveats.unmeasured(evals(grid()))
    assert said == (
        "Not measured in these runs: basin recovery, the null of basin recovery, hold-out loss, seen loss, kernel "
        "distance (KID), distance to the ideal denoiser, membership inference, prompted extraction, memorized bits. "
        "Nothing is said about them; they are not 0."
    )
    some = grid(seen_loss=0.5)
    some[0]["seen_loss"] = None  # one run that did not measure it is no instrument that nobody used
    assert "seen loss" not in next(caveats.unmeasured(evals(some)))
    assert list(caveats.unmeasured(evals(grid(**dict.fromkeys(caveats.UNMEASURED, 1))))) == []


def test_all_caveats_of_a_clean_study_are_what_it_did_not_measure():
    """20 clean studies with known truth: the only sentences are the unmeasured instruments and the given reasons."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = grid()
        for row in rows:
            row["n_memorized"], row["n_null_memorized"] = int(rng.binomial(512, 0.2)), int(rng.binomial(512, 0.001))
        said = caveats.caveats(tables(rows), [], ["No gallery."], ["seed"], rng)
        assert [one.split(":")[0] for one in said] == ["Not measured in these runs", "No gallery."]
