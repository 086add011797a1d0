import json

import numpy as np
import pytest

from analysis.questions.interventions import base_of, changes, flat, interventions, single_changes
from tests.analysis.plain_study import tables

ASK = {"rate": 0.01, "at": {}, "level": 0.95, "draws": 500, "seed": 0}
BASE = {"model": {"width": 16, "prune": "0"}, "data": {"n_unique": 128, "draw": None, "fold": {"index": None}},
        "train": {"weight_decay": 0.0}, "evaluate": {"at": 8}}  # fmt: skip
MANY = 10**9
LUCK = np.array([-0.2, 0.0, 0.2])
OWN = np.array([0.1, -0.2, 0.1])  # of the changed runs; sums to 0


def config(seed: int, **changed) -> str:
    made = json.loads(json.dumps(BASE)) | {"seed": seed}
    for key, value in changed.items():
        section, name = key.split("__")
        made[section][name] = value
    return json.dumps(made)


def run(name: str, seed: int, *, logit: float, loss: float, params=1000, **changed) -> list[dict]:
    """Evaluations at 1,000 (loss - .1, logit - 2: the hold-out minimum) and 4,000."""
    text, own = config(seed, **changed), OWN[seed]
    kid = 0.01 * own * {"base": 1, "same": 1}.get(name, len(name) + 2)
    return [
        {"run_id": f"{name}-{seed}", "images_seen": t, "params": params, "seed": seed, "config": text,
         "holdout_loss": loss - less, "holdout_loss_se": 0.01, "kid": 0.1 + kid * t, "n_generated": MANY,
         "n_memorized": round(MANY / (1 + np.exp(-(logit - 20 * less))))}
        for t, less in ((1000, 0.1 + 0.01 * own), (4000, 0.0))
    ]  # fmt: skip


def study() -> list[dict]:
    """Five changes with known effects; seeds share their luck, which the pairing must cancel."""
    rows = []
    for seed, (luck, own) in enumerate(zip(LUCK, OWN, strict=True)):
        rows += run("base", seed, logit=luck, loss=0.5 + luck)
        rows += run("more", seed, logit=luck - 1.5 + own, loss=0.5 + luck - 0.05 + 0.01 * own, data__n_unique=512)
        rows += run("decay", seed, logit=luck - 3 + own, loss=0.6 + luck + 0.01 * own, train__weight_decay=1.0)
        rows += run("narrow", seed, logit=luck - 1 + own, loss=0.7 + luck + 0.01 * own, model__width=8, params=300)
        rows += run("same", seed, logit=luck, loss=0.5 + luck, model__prune="0.0")
        rows += run("both", seed, logit=luck - 9, loss=0.5 + luck, model__width=8, data__n_unique=512)
    return rows


def rows_by_change(found) -> dict:
    return {row["change"].split(":")[0]: row for row in found.rows}


def test_effects_and_ranks_are_the_known_ones():
    """More data wins 1.5 for nothing; early stopping wins 2 and lowers the loss: first. Decay dominates narrow."""
    found = interventions(tables(study()), **ASK)
    rows = rows_by_change(found)
    assert (
        found.answerable
        and found.value == pytest.approx(2.0, abs=1e-6)
        and found.rows[0]["change"].startswith("early stop")
    )
    more = rows["data.n_unique"]
    half = 4.302653 * OWN.std(ddof=1) / np.sqrt(3)  # only what the pairing does not cancel
    assert (more["benefit"], more["benefit_lo"], more["benefit_hi"]) == pytest.approx(
        (1.5, 1.5 - half, 1.5 + half), abs=1e-6
    )
    assert more["cost_holdout_loss"] == pytest.approx(-0.05) and more["at_no_cost"]
    ranks = {name: row["rank"] for name, row in rows.items()}
    assert ranks == {"early stop": 1, "data.n_unique": 2, "model.prune": 3, "train.weight_decay": 4, "model.width": 5}
    assert not rows["train.weight_decay"]["at_no_cost"] and rows["model.width"]["n_seeds"] == 3
    assert "1 configuration left out: combinations of other changes" in found.why
    assert "model.width 16, train.weight_decay 0.0" in found.why


def test_an_unchanged_configuration_gives_0_to_the_bit():
    """Null of measures.md 3.6: the same numbers under another spelling of prune."""
    row = rows_by_change(interventions(tables(study()), **ASK))["model.prune"]
    assert row["identical"] and all(
        row[f"{name}{end}"] == 0.0
        for name in ("benefit", "cost_holdout_loss", "cost_kid")
        for end in ("", "_lo", "_hi")
    )


def test_benefits_come_by_stratum_too():
    rows, strata = study(), []
    for row in rows:
        fewer = row["run_id"].startswith("more")
        for copies, hits in ((1, 10), (4 if fewer else 16, 20 if fewer else 60)):
            strata.append({"run_id": row["run_id"], "images_seen": row["images_seen"], "copies": copies,
                           "n_basin": 100, "n_basin_recovered": hits})  # fmt: skip
    more = rows_by_change(interventions(tables(rows, strata), **ASK))["data.n_unique"]
    assert more["benefit_single"] == 0
    assert more["benefit_duplicated"] == pytest.approx(np.log(60.5 / 40.5) - np.log(20.5 / 80.5))


def test_at_equal_loss_a_run_that_only_lags_wins_nothing():
    """A changed run on the same curve of f against loss, later in time: benefit 2 at equal images, 0 at equal loss."""

    def curve(name, seed, late, **changed):
        clock = np.array([1000, 2000, 4000, 8000])
        age = np.log(clock / 1000 / late)
        return [
            {"run_id": f"{name}-{seed}", "images_seen": t, "params": 1000, "seed": seed,
             "config": config(seed, **changed),
             "holdout_loss": 1 - 0.1 * a, "holdout_loss_se": 0.001, "kid": None, "n_generated": MANY,
             "n_memorized": round(MANY / (1 + np.exp(3 - a)))}
            for t, a in zip(clock, age, strict=True)
        ]  # fmt: skip

    rows = [r for s in range(3) for r in curve("base", s, 1.0) + curve("slow", s, 2.0, train__weight_decay=1.0)]
    rows += [r for s in range(3) for r in curve("other", s, 1.0, model__width=8)]  # a second change: the base is plain
    row = rows_by_change(interventions(tables(rows), **ASK))["train.weight_decay"]
    assert row["benefit"] == pytest.approx(np.log(2), abs=1e-6) and row["cost_kid"] is None
    assert row["benefit_equal_loss"] == pytest.approx(0, abs=1e-6)


def test_a_tie_asks_for_the_base_and_takes_it():
    rows = [
        r
        for s in range(3)
        for r in run("a", s, logit=s, loss=0.5) + run("b", s, logit=0.1 - s, loss=0.5 + s, model__width=8, params=300)
    ]
    found = interventions(tables(rows), **ASK)
    assert not found.answerable and "2 configurations are equally near" in found.why and "--at" in found.why
    assert rows_by_change(interventions(tables(rows), **{**ASK, "at": {"params": 300}}))["model.width"]["n_seeds"] == 3


def test_one_seed_has_no_interval_and_no_rank():
    rows = [r for r in study() if r["seed"] == 0 and not r["run_id"].startswith("same")]
    found = interventions(tables(rows), **ASK)
    assert found.rows[0]["rank"] is None and found.lo is None and "one seed" in found.why


def test_no_configurations_no_answer():
    rows = [{**row, "config": None} for row in study()]
    assert "no row has its config" in interventions(tables(rows), **ASK).why


def test_replicates_and_when_they_are_measured_are_no_change():
    other = config(5, evaluate__at=2, data__fold={"index": 1}, data__draw=3, data__duplication={"rotate": 2})
    a, b = (flat(json.loads(text)) for text in (config(0), other))
    assert changes(a, b) == {} and set(a) == {"model.width", "model.prune", "data.n_unique", "train.weight_decay"}


def test_the_base_is_the_middle_of_the_star():
    far = [{"a": 2, "b": 2}, {"a": 1, "b": 1, "c": 3}, {"a": 5, "b": 5}, {"a": 2, "b": 1, "d": 7}, {"a": 1, "b": 9}]
    star = [{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, *far]
    assert base_of(star, range(8)) == [0] and base_of(star[:2], [0, 1]) == [0, 1]
    found, more = single_changes(star, 0)
    # (a 2, b 2) is a combination; (a 5, b 5) stands alone, and d is nowhere but in (a 2, d 7).
    assert set(found) == {1, 2, 4, 5, 6, 7} and more == 1
