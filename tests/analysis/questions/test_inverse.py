import numpy as np
import pytest
from scipy.special import logit, ndtr

from analysis.questions.inverse import max_copies, max_params, min_unique
from tests.analysis.asked_study import TRUTH, logit_f, study, two_sizes_of_training_set

ASKED = {"rate": 0.05, "at": {}, "level": 0.9, "draws": 100, "seed": 0}
DATA = {"b_0": 2.0, "params": 0.5, "n_unique": -1.1}
PLANS = tuple((n, (1,)) for n in (64, 128, 256, 512, 1024))


def crossing(truth: dict, variable: str, rate: float, **at: float) -> float:
    """logit F = b_0 + sum b ln v, solved by hand."""
    return float(
        np.exp((logit(rate) - logit_f({k: v for k, v in truth.items() if k != variable}, **at)) / truth[variable])
    )


def test_at_most_how_many_copies_is_the_closed_form():
    tables = study(np.random.default_rng(0), luck=0.0, chains=100_000)
    answer = max_copies(tables, **{**ASKED, "at": {"params": 10405}})
    assert answer.answerable and not answer.extrapolated
    assert answer.value == pytest.approx(crossing(TRUTH, "copies", 0.05, params=10405), rel=0.01)
    assert answer.lo < answer.value < answer.hi
    assert "at most 16 copies" in answer.why and "params 10\u202f405" in answer.why
    assert sum(bool(row.get("chosen")) for row in answer.rows) == 1


@pytest.mark.parametrize("n_train", [256, 2_560])
def test_how_many_copies_are_too_many_depends_on_the_size_of_the_training_set(n_train):
    """Pooled without n_train the law is too flat in copies; on study 1 it said one copy where 4 recovered nothing."""
    truth = {"b_0": -3.5, "params": 1.0, "copies": 2.0, "n_train": -2.0}
    answer = max_copies(two_sizes_of_training_set(np.random.default_rng(0), truth),
                        **{**ASKED, "rate": 0.01, "at": {"params": 1e4, "n_train": n_train}})  # fmt: skip
    exact = crossing(truth, "copies", 0.01, params=1e4, n_train=n_train)
    assert answer.lo < exact < answer.hi and answer.value == pytest.approx(exact, rel=0.1)


def test_how_many_unique_images_is_the_closed_form_and_rounds_up():
    tables = study(np.random.default_rng(0), truth=DATA, plans=PLANS, luck=0.0, samples=100_000)
    answer = min_unique(tables, **{**ASKED, "rate": 0.4, "at": {"params": 10405}})
    exact = crossing(DATA, "n_unique", 0.4, params=10405)
    assert answer.value == pytest.approx(exact, rel=0.01) and answer.unit == "unique images"
    assert f"from {np.ceil(answer.value):g} unique images on" in answer.why


def test_which_size_is_the_closed_form():
    tables = study(np.random.default_rng(0), truth=DATA, plans=PLANS, luck=0.0, samples=100_000)
    answer = max_params(tables, **{**ASKED, "rate": 0.4, "at": {"n_unique": 256}})
    assert answer.value == pytest.approx(crossing(DATA, "params", 0.4, n_unique=256), rel=0.02)


def test_without_at_the_median_is_taken_and_said():
    answer = max_copies(study(np.random.default_rng(0)), **ASKED)
    assert "params 10\u202f405 (median)" in answer.why


def test_a_crossing_outside_the_runs_is_marked():
    tables = study(np.random.default_rng(1), truth={**TRUTH, "b_0": -14.0})
    answer = max_copies(tables, **{**ASKED, "rate": 0.5, "at": {"params": 2743}})
    assert answer.answerable and answer.extrapolated and answer.value > 64
    assert "the runs have copies 1 to 64" in answer.why
    assert max_copies(tables, **{**ASKED, "rate": 0.02, "at": {"params": 1e6}}).extrapolated


def test_where_one_copy_is_too_many_there_is_no_answer():
    answer = max_copies(study(np.random.default_rng(1), truth={**TRUTH, "b_0": -7.0}), **{**ASKED, "rate": 0.01})
    assert not answer.answerable and answer.value is None
    assert "already at one copy the mean rate is above it" in answer.why


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"truth": {**TRUTH, "copies": 0.0, "b_0": -7.0}}, "no effect is not ruled out"),
        ({"truth": {**TRUTH, "copies": -0.9, "b_0": -5.0}}, "f falls with copies, so there is no upper limit"),
        ({"truth": {**TRUTH, "b_0": -60.0}}, "not one of 6\u202f140 trials is a success"),
        ({"plans": ((256, (8,)),)}, "copies is 8 in every row"),
        ({"plans": ((64, (2,)), (128, (4,)), (256, (8,)))}, "copies moves together with n_unique"),
        ({"params": (2743,), "seeds": 2}, "2 runs: a surface takes at least 3"),
    ],
)  # fmt: skip
def test_what_these_data_cannot_tell_is_said(change, says):
    answer = max_copies(study(np.random.default_rng(6), **change), **ASKED)
    assert not answer.answerable and answer.value is None and answer.lo is None
    assert says in answer.why


def test_what_was_not_measured_is_said():
    tables = study(np.random.default_rng(0))
    tables.strata["n_basin"] = np.nan
    assert "no row of strata has n_basin_recovered" in max_copies(tables, **ASKED).why


@pytest.mark.parametrize(
    ("change", "says"),
    [({"rate": 0.0}, "between 0 and 1"), ({"at": {"copies": 3.0}}, "asks for it"), ({"at": {"parms": 3.0}}, "params")],
)
def test_arguments_that_mean_nothing_raise(change, says):
    with pytest.raises(ValueError, match=says):
        max_copies(study(np.random.default_rng(0)), **{**ASKED, **change})


def test_nine_of_ten_new_runs_stay_below_the_rate():
    """Closed form: a run's logit is normal around the mean with sd .3: P(f < F) = Phi((logit F - eta)/.3) = .9."""
    tables = study(np.random.default_rng(2), luck=0.3, seeds=15)
    row = max_copies(tables, **{**ASKED, "at": {"params": 10405}}).rows[-1]
    eta = logit_f(TRUTH, params=10405, copies=row["value"])
    assert ndtr((logit(0.05) - eta) / 0.3) == pytest.approx(0.9, abs=0.06)
    assert row["luck_sd"] == pytest.approx(0.3, abs=0.08)
    assert row["lo"] < row["value"] < row["hi"]


def test_an_exposure_law_is_limited_above_too():
    """f = 1 - exp(-(r sqrt p/3000)^1.3) crosses F at r = 3000 (-ln(1 - F))^(1/1.3)/sqrt p; its logit is no line."""
    tables = study(np.random.default_rng(1), luck=0.0, chains=400)
    p, r = (tables.strata[name].to_numpy() for name in ("params", "copies"))
    f = -np.expm1(-((r * np.sqrt(p) / 3000) ** 1.3))
    tables.strata["n_basin_recovered"] = np.random.default_rng(2).binomial(400, f).astype(float)
    answer = max_copies(tables, **{**ASKED, "rate": 0.9, "at": {"params": 10405}, "level": 0.99})
    exact = 3000 * np.log(10) ** (1 / 1.3) / np.sqrt(10405)
    assert "exp(-(x/x0)^k)" in answer.why
    assert 0.9 * exact < answer.lo < exact < answer.hi < 1.1 * exact


@pytest.mark.slow
def test_the_interval_of_max_copies_covers(keep_table):
    """90 % intervals over simulated studies (standard error 3 %); a slope of 0 is answered in one of ten."""
    exact, null = crossing(TRUTH, "copies", 0.05, params=10405), {**TRUTH, "copies": 0.0, "b_0": -7.0}
    rows = []
    for name, options, studies in (
        ("12 runs, luck .5", {"luck": 0.5}, 100),
        ("8 runs, luck .5", {"luck": 0.5, "seeds": 2}, 100),
        ("12 runs, luck .5, no effect of copies", {"luck": 0.5, "truth": null}, 60),
    ):
        answers = [
            max_copies(study(np.random.default_rng(k), **options), **{**ASKED, "at": {"params": 10405}})
            for k in range(studies)
        ]
        given = [a for a in answers if a.answerable]
        hits = sum((a.lo is None or a.lo <= exact) and (a.hi is None or exact <= a.hi) for a in given)
        rows.append({
            "study": name, "studies": studies, "answered": len(given),
            "holds the truth": "" if "truth" in options else round(hits / len(given), 3),
            "no limit on a side": sum(a.lo is None or a.hi is None for a in given),
        })  # fmt: skip
    keep_table("ask", "max_copies: how often its 90 % interval holds the truth", rows, "0 to 99")
    for row in rows[:2]:
        assert row["answered"] >= 0.95 * row["studies"] and row["holds the truth"] >= 0.83
    assert rows[2]["answered"] <= 0.2 * rows[2]["studies"]
