"""Which images come back first: an order that was put in is found again, and copies alone make none."""

import numpy as np
import pandas
import pytest

from analysis.studies.recovered_first import recovered_with


def tables(*, order: float, runs: int = 6, images: int = 40) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Scores with a `distance`, and runs in which the recovered chains are 2 a copy plus `order` times the distance."""
    rng = np.random.default_rng(0)
    copies = np.repeat([1, 4], images)
    scored = pandas.DataFrame({"image_id": [f"i{k}" for k in range(2 * images)], "copies": copies})
    scored["distance"] = rng.random(2 * images)
    made = [scored.assign(run_id=run, in_training=rng.random(2 * images) < 0.8) for run in range(runs)]
    rows = pandas.concat([one.assign(in_training=one["in_training"].astype(object)) for one in made])
    chains = 2.0 * rows["copies"] + order * rows["distance"] + 0.1 * rng.standard_normal(len(rows))
    return scored, rows.assign(n_basin_recovered=np.where(rows["in_training"] == True, chains, -99.0))  # noqa: E712


@pytest.mark.parametrize(("order", "sign"), [(1.0, 1), (-1.0, -1)])
def test_the_order_within_equal_copies_is_found(order: float, sign: int) -> None:
    scored, images = tables(order=order)
    rho = recovered_with(scored, images, ["distance"])["distance"]
    assert sign * rho.value > 0.8
    assert sign * (rho.lo if sign > 0 else rho.hi) > 0
    assert rho.n == len(scored)


def test_copies_make_no_order_and_runs_without_the_image_do_not_count() -> None:
    """Four times the copies bring back four times the chains, and 0 chains of an image left out are no failure."""
    scored, images = tables(order=0.0)
    scored["distance"] += 10 * scored["copies"]  # pooled over copies: a correlation of nearly 1
    rho = recovered_with(scored, images, ["distance"])["distance"]
    assert rho.lo < 0 < rho.hi
