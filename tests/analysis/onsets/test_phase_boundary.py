"""Exponents of EMM and N* from bracketed sizes: planted ones come back, a wrong theory is rejected."""

import numpy as np
import pandas
import pytest

from analysis.onsets.phase_boundary import phase_boundary

LADDER = np.concatenate([[0], 2.0 ** np.arange(4, 13), [np.inf]])


def table(emm: float, star: float, *, copies: float = -0.8, seed: int = 0, times=(32_000, 128_000)) -> pandas.DataFrame:
    """Capacities ~ params^emm, params^star and copies^copies, spread by 15 %, between sizes of a doubling ladder."""
    rng, rows = np.random.default_rng(seed), []
    for p in np.geomspace(2e3, 6e5, 8):
        for r in (1, 4, 16):
            for t in times:
                row = {"weights": "raw", "family": "unet", "design": "spectrum", "params": p, "copies": r,
                       "batch_size": 64, "images_seen": t}  # fmt: skip
                for name, slope in (("emm", emm), ("n_star", star)):
                    value = 200 * (p / 3e4) ** slope * r**copies * np.exp(0.15 * rng.normal()) * (4 if t < 1e5 else 1)
                    k = np.searchsorted(LADDER, value)
                    a, b = LADDER[k - 1], LADDER[k]
                    status = "below_range" if a == 0 else "above_range" if np.isinf(b) else "interp"
                    row |= {f"{name}_a": a, f"{name}_b": b, f"{name}_status": status}
                rows.append(row)
    return pandas.DataFrame(rows)


def of(rows: list[dict], what: str) -> list[dict]:
    return [row for row in rows if row["boundary"] == what]


def test_planted_exponents_come_back_and_theory_stands():
    rows = phase_boundary(table(1.0, 0.5))
    for what, truth in (("emm", 1.0), ("n_star", 0.5)):
        for row in of(rows, what):
            p, r = row["params"]["params"], row["params"]["copies"]
            assert row["n"] == 24 and 0 < row["n_bracketed"] <= 24  # the last images_seen of each setting only
            assert p["lo"] <= truth <= p["hi"] and r["lo"] <= -0.8 <= r["hi"]
            assert p["theory"] == truth and p["p_value"] > 0.01 and "images_seen" not in row["params"]


def test_a_wrong_theory_is_rejected():
    rows = phase_boundary(table(0.6, 0.9))
    assert all(row["p_value"] < 0.01 for row in rows) and len(rows) == 4


def test_no_table_no_rows_and_constant_columns_say_so():
    assert phase_boundary(pandas.DataFrame()) == []
    one = table(1.0, 0.5)
    (row, *_) = phase_boundary(one[(one["params"] == one["params"].min()) & (one["copies"] == 1)])
    assert "constant" in row["message"] and "p_value" not in row


def test_batch_sizes_are_not_mixed():
    made = table(1.0, 0.5)
    rows = phase_boundary(made.assign(batch_size=np.where(made["copies"] > 1, 64, 32)))
    assert all("several batch_size" in row["message"] for row in rows)


@pytest.mark.slow
def test_a_true_theory_is_rejected_in_at_most_5_percent_though_brackets_are_wide(keep_table):
    """Scatter of 15 % in brackets of a doubling, 200 tables. The F test is conservative there and often cannot tell;
    with m = n in its place (see p_of) a true exponent was rejected in 22 of 200."""
    rows = []
    for star, claim in ((0.5, "true"), (0.6, "wrong by .1")):
        found = [of(phase_boundary(table(1.0, star, seed=s)), "n_star")[0]["p_value"] for s in range(200)]
        told = np.array([p for p in found if p is not None])
        rows.append({"exponent .5 is": claim, "rejected at 5 %": f"{np.sum(told < 0.05) / 200:.3f}",
                     "cannot tell": f"{1 - len(told) / 200:.3f}"})  # fmt: skip
    keep_table("boundary", "N* ~ params^.5 from wide brackets, log-normal, 24 settings, 200 tables", rows, "0 to 199")
    assert float(rows[0]["rejected at 5 %"]) <= 0.09
