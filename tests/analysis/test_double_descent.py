import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from analysis.double_descent import main, verdicts

SIZES = np.array([1e3, 2e3, 4e3, 8e3, 16e3, 32e3, 64e3, 128e3])
DESCENT = np.array([3, 1, 0.5, 1.5, 3, 1.5, 0.2, 0])  # a peak of 2.5 at 16 k
FALLING = np.array([8, 5, 3.4, 2.3, 1.6, 1.1, 0.8, 0.6])
KEYS = [
    "group", "n_x", "n_replicates", "test", "verdict", "why", "peak_x", "peak_lo", "peak_hi", "prominence",
    "prominence_lo", "prominence_hi", "p_value", "first_min_x", "second_descent",
]  # fmt: skip


def study(curve=DESCENT, *, sd: float = 0.1, seeds: int = 3, x=SIZES, name: str = "a", rng_seed: int = 0):
    rng = np.random.default_rng(rng_seed)
    return pandas.DataFrame(
        [
            {"params": a, "seed": k, "loss": b + sd * rng.standard_normal(), "cell": name}
            for a, b in zip(x, curve, strict=True)
            for k in range(seeds)
        ]
    )


def one(frame: pandas.DataFrame, **more) -> dict:
    (found,) = verdicts(frame, **{"x": "params", "y": "loss", "replicate": "seed", **more})
    return found


@pytest.fixture
def write(tmp_path: Path):
    def written(frame: pandas.DataFrame) -> str:
        path = tmp_path / "table.csv"
        frame.to_csv(path, index=False)
        return str(path)

    return written


def answer(capsys, *words: str) -> list[dict]:
    assert main(list(words)) == 0
    return json.loads(capsys.readouterr().out)["groups"]


def test_the_three_verdicts_group_by_group(capsys, write):
    frame = pandas.concat([study(), study(FALLING, name="b"), study(DESCENT, sd=5, name="c")])
    groups = answer(
        capsys, write(frame), "--x", "params", "--y", "loss", "--group", "cell", "--replicate", "seed", "--log-x"
    )
    assert [(g["group"], g["verdict"]) for g in groups] == [("a", "present"), ("b", "absent"), ("c", "cannot_tell")]
    assert all(list(g) == KEYS for g in groups)
    found = groups[0]
    assert (found["n_x"], found["n_replicates"], found["test"]) == (8, 3, "search")
    assert found["peak_lo"] <= found["peak_x"] <= found["peak_hi"] and found["peak_lo"] <= 16e3 <= found["peak_hi"]
    assert found["prominence_lo"] <= 2.5 <= found["prominence_hi"] and found["p_value"] < 0.01
    assert found["first_min_x"] == 4e3 and found["second_descent"] is True and "benign" in found["why"]
    assert groups[1]["peak_x"] is None and groups[1]["prominence_lo"] == 0


def test_overfitting_is_not_double_descent():
    """A U shape is never present; whether it ends there only theory knows (--predicted)."""
    u = study([5, 3, 2, 1.5, 2, 3, 5, 8])
    found = one(u)
    assert found["verdict"] == "cannot_tell" and "still rises at its end" in found["why"]
    assert one(u, predicted=8e3)["verdict"] == "absent"
    assert "does not cover a quarter to four times the predicted 64\u202f000" in one(u, predicted=64e3)["why"]


def test_a_curve_that_begins_on_a_peak_is_open():
    found = one(study([5, 4.5, 3, 1.5, 1, 0.8, 0.7, 0.65], sd=0.02))
    assert found["verdict"] == "cannot_tell" and "as from a peak before" in found["why"]


def test_observed_against_predicted():
    why = one(study(), predicted=16e3)["why"]
    assert "times the predicted 16\u202f000" in why and "inside the peak's interval" in why
    assert "outside" in one(study(), predicted=1e6)["why"]
    frame = study().assign(threshold=16e3)
    assert one(frame, predicted="threshold")["why"] == why
    frame.loc[0, "threshold"] = 1
    with pytest.raises(ValueError, match="threshold holds 2 values, 1 to 16000"):
        one(frame, predicted="threshold")


def test_confirmatory_by_command(capsys, write):
    words = ("--x", "params", "--y", "loss", "--replicate", "seed", "--window", "12e3,20e3", "--valley", "2e3,4e3")
    (found,) = answer(capsys, write(study()), *words)
    assert (found["test"], found["verdict"]) == ("confirmatory", "present")
    assert "above the last point p" in found["why"]
    (none,) = answer(capsys, write(study(FALLING)), *words)
    assert none["verdict"] == "absent" and none["p_value"] > 0.5
    assert "no x lies in the window" in one(study(), window=(9e3, 1e4), valley=(1e3, 2e3))["why"]
    assert "lies in the window" in one(study(), window=(1e5, 2e5), valley=(1e3, 2e3))["why"]


@pytest.mark.parametrize("se", [None, "se"])
def test_one_run_needs_standard_errors(se):
    frame = study(seeds=1).assign(se=0.1)
    found = one(frame, se=se)
    assert found["verdict"] == ("present" if se else "cannot_tell")
    if not se:
        assert found["p_value"] is None and found["prominence_lo"] is None and found["prominence"] > 2
        assert "--se" in found["why"]


def test_a_long_run_is_judged_by_blocks():
    t = np.arange(1, 1001.0)
    rng = np.random.default_rng(0)
    curve = np.exp(-t / 100) + np.exp(-(((t - 500) / 100) ** 2))
    frame = pandas.DataFrame({"images_seen": t, "loss": curve + 0.05 * rng.standard_normal(1000), "run_id": "r"})
    found = verdicts(frame, x="images_seen", y="loss")[0]
    assert found["verdict"] == "present" and found["peak_lo"] <= 500 <= found["peak_hi"]
    assert "blocks" in found["why"] and found["n_x"] == 1000


def test_evaluations_of_one_run_are_no_replicates():
    """Runs that recur along x are recognised; their offsets alone must not hide a peak common to all."""
    rng, t = np.random.default_rng(0), np.arange(1, 13.0)
    curve = np.interp(t, [1, 4, 7, 12], [3, 0, 2, -1])
    frame = pandas.DataFrame(
        [
            {"images_seen": a, "loss": b + luck, "run_id": f"r{k}"}
            for k, luck in enumerate(0.4 * rng.standard_normal(5))
            for a, b in zip(t, curve, strict=True)
        ]
    )
    frame["loss"] += 0.02 * rng.standard_normal(len(frame))
    found = verdicts(frame, x="images_seen", y="loss")[0]
    assert "5 whole runs" in found["why"] and found["verdict"] == "present"


def test_unequal_replicates_and_one_replicate_somewhere():
    frame = study(seeds=5).drop(index=[11, 12, 13, 14, 27])
    found = one(frame)
    assert found["verdict"] == "present" and found["n_replicates"] == 1 and "1 to 5 at each x" in found["why"]


def test_five_sizes_are_enough_and_four_are_not():
    frame = study([3, 0, 3, 1, 0], x=SIZES[:5])
    assert one(frame)["verdict"] == "present"
    found = one(frame[frame["params"] < 16e3])
    assert found["verdict"] == "cannot_tell" and "4 different x" in found["why"]


def test_what_is_left_out_is_said():
    frame = study()
    frame.loc[[0, 5], "loss"] = np.nan
    frame = pandas.concat([frame, frame.iloc[[7]]])
    why = one(frame)["why"]
    assert "2 rows left out: a value is missing" in why and "1 further rows of the same seed" in why
    assert "1 rows repeat another row" in why


def test_order_and_units_do_not_matter():
    frame = study()
    first, other = one(frame), one(frame.sample(frac=1, random_state=0).assign(loss=lambda f: 1000 * f["loss"]))
    assert other["p_value"] == first["p_value"] and other["peak_x"] == pytest.approx(first["peak_x"])
    assert other["prominence_hi"] == pytest.approx(1000 * first["prominence_hi"])


def test_copies_of_a_run_are_no_noise():
    frame = pandas.concat([study(seeds=1)] * 3)
    assert "agree to the last digit" in one(frame, replicate=None)["why"]
    constant = one(study(0 * DESCENT, sd=0))
    assert constant["verdict"] == "cannot_tell" and constant["prominence"] == 0


def test_malign_overfitting_and_memorization_are_said():
    u = study([5, 3, 2, 1.5, 2, 3, 5, 8]).assign(train=lambda f: 1e3 / f["params"] ** 1.0, hits=lambda f: f["params"])
    why = one(u, train_loss="train", memorized="hits")["why"]
    assert "malign overfitting: the training loss falls below 5 % of its largest value at x = 32000" in why
    assert "hits: 8e+03 +- 0 SE at the first minimum, 1.28e+05 +- 0 SE at the last x" in why
    assert "no malign overfitting shown" in one(u.assign(train=1.0), train_loss="train")["why"]
    assert "no overfitting" in one(study(FALLING).assign(train=1.0), train_loss="train")["why"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--y", "los"], "did you mean loss?"),
        (["--where", "params>1e9"], "no row left by --where params>1e9"),
        (["--y", "cell"], "which is no number"),
        (["--se", "zero"], "a standard error is above 0"),
        (["--log-x", "--x", "zero"], "which has no logarithm"),
        (["--window", "1,2"], "go together"),
        (["--window", "1,2", "--valley", "2,3"], "the first minimum comes first"),
        (["--level", "2"], "must lie between"),
        (["--draws", "3"], "200 draws or more"),
        (["--predicted", "-1"], "must be above 0"),
        (["--predicted", "thresold"], "no column thresold"),
        (["--y", "endless"], "is infinite"),
        (["--y", "empty"], "is empty in every row"),
    ],
)
def test_bad_input_is_one_line(capsys, write, words, said):
    frame = study().assign(zero=0, endless=np.inf, empty=np.nan)
    assert main([write(frame), "--x", "params", "--y", "loss", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("count", [1, 3, 5, 12])
def test_one_short_run_is_told_that_it_is_short(count):
    rng = np.random.default_rng(count)
    frame = pandas.DataFrame(
        {"run_id": "a", "images_seen": 10.0 * np.arange(1, count + 1), "y": rng.normal(size=count)}
    )
    (verdict,) = verdicts(frame, x="images_seen", y="y")
    assert verdict["verdict"] == "cannot_tell"
    assert ("needed" in verdict["why"]) and verdict["p_value"] is None
