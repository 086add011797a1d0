import json
from itertools import combinations

import numpy as np
import pandas
import pytest
from scipy.stats import rankdata

from analysis.agreement import (
    OF_CELLS,
    OF_IMAGES,
    cell_agreement,
    disagreements,
    image_agreement,
    main,
    readings,
)
from analysis.per_image.same_noise import sample_cosines
from analysis.pictures.agreement_figures import most_memorized, plot_agreement
from scaling import schema

NAN = np.nan


def images(n: int = 60, runs: int = 3, *, strata=(1,), seed: int = 0, **columns) -> pandas.DataFrame:
    """Trained images of several runs; columns: (rng, copies) -> values. Two held-out images a run, not to be used."""
    rng, parts = np.random.default_rng(seed), []
    for run in range(runs):
        part = pandas.DataFrame({c.name: [NAN if c.type in (int, float) else None] * n for c in schema.IMAGES})
        copies = np.repeat(strata, n // len(strata))
        part = part.assign(run_id=f"run{run}", cell_id="cell", image_id=[f"{k:016x}" for k in range(n)], role="train",
                           in_training=True, copies=copies, n_generated=10_000, images_seen=640)  # fmt: skip
        part = part.assign(**{name: make(rng, copies) for name, make in columns.items()})
        held = part.head(2).assign(in_training=False, image_id=["h0", "h1"], loss=-99.0, n_hits=9e3)
        parts += [part, held]
    return pandas.concat(parts, ignore_index=True)


def noise(rng, copies):
    return rng.normal(size=len(copies))


def pair(table: pandas.DataFrame, first: str, second: str, stratum: str = "within") -> pandas.Series:
    rows = table[(table["first"] == first) & (table["second"] == second) & (table["stratum"] == stratum)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_an_instrument_agrees_with_itself_and_against_a_turned_one():
    """The same order read as loss (less = memorized) and as score: 1; and with its sign exchanged: -1."""
    table = images(loss=noise)
    table["membership_score"], table["log_density_bound"] = -table["loss"], table["loss"] ** 3
    found = image_agreement(readings(table))
    assert pair(found, "loss", "membership_score")["value"] == pytest.approx(1)
    assert pair(found, "loss", "log_density_bound")["value"] == pytest.approx(-1)
    assert pair(found, "loss", "membership_score")["n"] == 60  # held-out images are not among them


def test_permuted_images_agree_at_0_within_the_null():
    """0 +- 1/sqrt(n - 1): 40 runs of 60 independent images."""
    found = image_agreement(readings(images(runs=40, loss=noise, membership_score=noise)))
    row = pair(found, "loss", "membership_score")
    assert abs(row["value"]) < 3 / np.sqrt(59 * 40) and row["n_runs"] == 40 and row["interval"] == "runs"
    half = (row["hi"] - row["lo"]) / 2
    assert half == pytest.approx(2.02 / np.sqrt(59 * 40), rel=0.25)


def test_copies_make_all_agree_unless_strata_stand_apart():
    """Two instruments that know only the copies, plus noise of their own: pooled near 1, within strata 0."""
    by_copies = lambda rng, copies: np.log(copies) + 0.05 * rng.normal(size=len(copies))  # noqa: E731
    read = readings(images(n=80, runs=20, strata=(1, 2, 4, 8), membership_score=by_copies, leverage=by_copies))
    found = image_agreement(read)
    assert pair(found, "membership_score", "leverage", "pooled")["value"] > 0.9
    row = pair(found, "membership_score", "leverage")
    assert abs(row["value"]) < 3 / np.sqrt(4 * 19 * 20) and row["lo"] < 0 < row["hi"] and row["n"] == 80
    assert set(found["stratum"]) == {"1", "2", "4", "8", "within", "pooled"}


def test_the_mean_over_strata_of_one_run_has_an_interval():
    """Against the Spearman of each stratum, weights n - 1 (equal here)."""
    found = image_agreement(readings(images(runs=1, strata=(1, 2), loss=noise, membership_score=noise)))
    parts = [pair(found, "loss", "membership_score", s) for s in ("1", "2")]
    row = pair(found, "loss", "membership_score")
    assert row["value"] == pytest.approx(np.mean([p["value"] for p in parts])) and row["interval"] == "images"
    assert row["hi"] - row["lo"] < min(p["hi"] - p["lo"] for p in parts)


@pytest.mark.slow
def test_the_interval_over_runs_covers_the_truth():
    """Gaussian pairs of r .5 in 6 runs of 50 images; Spearman's rho of it is 6/pi asin(r/2) = .4826; 300 studies."""
    rng, covered = np.random.default_rng(4), 0
    for _ in range(300):
        x, e = rng.normal(size=(2, 6, 50))
        y = 0.5 * x + np.sqrt(0.75) * e
        read = pandas.DataFrame({name: np.full(300, NAN) for name in OF_IMAGES})
        read = read.assign(run_id=np.repeat(np.arange(6), 50), copies=1, loss=x.ravel(), leverage=y.ravel())
        row = pair(image_agreement(read), "loss", "leverage")
        covered += row["lo"] <= 6 / np.pi * np.arcsin(0.25) <= row["hi"]
    assert 0.90 <= covered / 300 <= 0.985


def test_a_constant_column_is_empty():
    found = image_agreement(readings(images(loss=noise, n_hits=lambda rng, copies: np.zeros(len(copies)))))
    row = pair(found, "n_hits", "loss")
    assert np.isnan(row[["value", "lo", "hi"]].astype(float)).all() and row["n_runs"] == 0


def test_an_image_no_sample_came_near_ranks_last():
    """best_ratio empty for half the images, the others in the order of their score: mid-ranks by hand."""
    table = images(n=8, runs=1, membership_score=lambda rng, copies: np.arange(8.0))
    table.loc[:7, "best_ratio"] = [NAN] * 4 + [0.9, 0.5, 0.3, 0.1]
    x, y = np.arange(1, 9), np.array([2.5] * 4 + [5, 6, 7, 8])
    row = pair(image_agreement(readings(table)), "best_ratio", "membership_score")
    assert row["n"] == 8 and row["value"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert np.isnan(readings(table.assign(best_ratio=NAN))["best_ratio"]).all()  # never measured stays missing


def test_a_given_score_is_joined_by_image_and_cell():
    table = images(runs=1, loss=noise)
    score = pandas.DataFrame({"cell_id": "cell", "image_id": table["image_id"], "score": -table["loss"]})
    others = score.assign(cell_id="other", score=0.0)
    read = readings(table, pandas.concat([score, others], ignore_index=True))
    assert len(read) == 60 and pair(image_agreement(read), "loss", "score")["value"] == pytest.approx(1)


def test_the_planted_disagreement_comes_first():
    """One image is lowest in one instrument and highest in the other, all others agree."""
    table = images(n=20, runs=2, loss=lambda rng, copies: np.arange(20.0))
    table["membership_score"] = -table["loss"]
    table.loc[table["image_id"] == f"{19:016x}", "membership_score"] = 5.0
    found = disagreements(readings(table), most=2)
    top = found.iloc[0]
    assert top["image_id"] == f"{19:016x}" and (top["first"], top["second"]) == ("loss", "membership_score")
    assert (top["rank_first"], top["rank_second"], top["n_runs"], top["copies"]) == (0, 1, 2, 1)
    assert len(found) == 2 and found["apart"].iloc[1] == pytest.approx(1 / 19)


def test_ranks_are_within_one_number_of_copies():
    table = images(n=8, runs=1, strata=(1, 8), loss=noise, leverage=noise)
    found = disagreements(readings(table), most=8)
    for copies, part in found.groupby("copies"):
        seen = readings(table).set_index("image_id").loc[part["image_id"]]
        assert seen["copies"].eq(copies).all()
        np.testing.assert_allclose(part["rank_first"], (rankdata(seen["loss"]) - 1) / 3)
        np.testing.assert_allclose(part["rank_second"], (rankdata(seen["leverage"]) - 1) / 3)


def test_constant_instruments_dispute_nothing():
    assert disagreements(readings(images(loss=noise, leverage=lambda rng, copies: copies * 1.0))).empty


def cells(n: int = 12) -> pandas.DataFrame:
    rows = pandas.DataFrame({c.name: [NAN if c.type in (int, float) else None] * (2 * n) for c in schema.EVALS})
    cell = np.arange(2 * n) // 2
    return rows.assign(run_id=[f"r{k}" for k in range(2 * n)], cell_id=[f"c{k:02d}" for k in cell], images_seen=640,
                       n_generated=256, n_unique=64, n_basin=128, n_memorized=10.0 * cell,
                       ideal_distance=1 - 0.05 * cell, n_basin_recovered=64.0)  # fmt: skip


def test_cells_agree_by_rates_at_their_last_evaluation():
    """More memorized where nearer to the ideal denoiser: 1; a constant column empty; earlier rows do not count."""
    last = cells()
    early = last.assign(images_seen=64, n_memorized=last["n_memorized"].max() - last["n_memorized"])
    found = cell_agreement(pandas.concat([early, last], ignore_index=True))
    row = pair(found, "n_memorized", "ideal_distance", "")
    assert row["value"] == pytest.approx(1) and row["n"] == 12 and row["n_runs"] == 24
    assert np.isnan(pair(found, "n_memorized", "n_basin_recovered", "")["value"])
    assert len(found) == len(list(combinations(OF_CELLS, 2)))


def test_rates_not_counts_are_compared():
    """Budgets that undo the counts: the cell with twice the hits of four times the samples memorized less."""
    frame = cells().assign(n_generated=lambda f: 256 * (1 + f["n_memorized"] / 10) ** 2)
    found = cell_agreement(frame[frame["n_memorized"] > 0])
    assert pair(found, "n_memorized", "ideal_distance", "")["value"] == pytest.approx(-1)


def test_the_heat_map_shows_value_interval_and_n():
    found = image_agreement(readings(images(loss=noise, membership_score=noise, leverage=noise)))
    within = found[found["stratum"] == "within"]
    axes = plot_agreement(within, "title").axes[0]
    row = pair(found, "loss", "leverage")
    texts = [text.get_text() for text in axes.texts]
    assert f"{row['value']:.2f}\n({row['lo']:.2f}, {row['hi']:.2f})\nn 60 × 3 runs" in texts and len(texts) == 3
    drawn = axes.images[0].get_array()
    assert drawn.shape == (3, 3) and drawn[2, 0] in within["value"].to_numpy() and (~drawn.mask).sum() == 3


def test_the_most_memorized_images_are_shown_and_the_shared_framed():
    table = images(n=30, runs=2, loss=lambda rng, copies: np.arange(30.0))
    table["leverage"] = -table["loss"]
    pixels = {f"{k:016x}": np.full((1, 4, 4), k, np.uint8) for k in range(30)}
    figure = most_memorized(readings(table), pixels, across=3)
    shown = [axes.images[0].get_array()[0, 0] for axes in figure.axes]
    assert shown == [0, 1, 2, 0, 1, 2] and all(axes.spines["left"].get_visible() for axes in figure.axes)
    assert most_memorized(readings(table), {}) is None


def write_study(folder, runs_folder, make_tables, *, gallery: bool = True):
    tables = make_tables(runs_folder)
    made = images(n=40, runs=2, strata=(1, 4), loss=noise, membership_score=noise)
    made["n_hits"] = np.where(made["loss"] < 0, 1.0, 0.0)
    made.to_parquet(tables / "images.parquet")
    if gallery:
        ids = np.array([f"{k:016x}" for k in range(40)])
        np.savez(tables / "gallery.npz", image_ids=ids, image_pixels=np.zeros((40, 1, 8, 8), np.uint8))
    score = pandas.DataFrame({"image_id": [f"{k:016x}" for k in range(40)], "Mbar": np.arange(40.0)})
    score.to_csv(folder / "score.csv", index=False)
    return tables


def test_the_command_writes_tables_json_and_figures(tmp_path, runs_folder, make_tables, capsys):
    tables, out = write_study(tmp_path, runs_folder, make_tables), tmp_path / "out"
    assert main([str(tables), "--out", str(out), "--score", str(tmp_path / "score.csv")]) == 0
    assert "agreement.csv" in capsys.readouterr().out
    found, answer = pandas.read_csv(out / "agreement.csv"), json.loads((out / "agreement.json").read_text())
    assert set(found["over"]) == {"images", "cells"}
    assert found.loc[(found["first"] == "loss") & (found["second"] == "score"), "value"].notna().any()
    assert len(pandas.read_csv(out / "disagreements.csv")) == len(answer["disagreements"]) > 0
    assert answer["n_runs"] == 2 and set(answer["figures"]) == {p.name for p in out.glob("*.png")}
    drawn = ["agreement_images.png", "agreement_cells.png", "most_memorized.png", "disagreements.png"]
    assert answer["figures"] == drawn


def test_without_pixels_no_picture_is_drawn(tmp_path, runs_folder, make_tables):
    tables, out = write_study(tmp_path, runs_folder, make_tables, gallery=False), tmp_path / "out"
    assert main([str(tables), "--out", str(out)]) == 0
    assert {p.name for p in out.glob("*.png")} == {"agreement_images.png", "agreement_cells.png"}


@pytest.mark.parametrize(("score", "says"), [("a,b\n", "no column image_id"), ("image_id,Mbar\nx,1\nx,2\n", "twice")])
def test_bad_scores_end_in_one_line(tmp_path, runs_folder, make_tables, capsys, score, says):
    tables = write_study(tmp_path, runs_folder, make_tables)
    (tmp_path / "bad.csv").write_text(score)
    assert main([str(tables), "--out", str(tmp_path / "out"), "--score", str(tmp_path / "bad.csv")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_tables_without_images_end_in_one_line(tmp_path, runs_folder, capsys):
    assert main([str(runs_folder), "--out", str(tmp_path)]) == 2
    assert "no images table" in capsys.readouterr().err


def test_one_denoiser_twice_agrees_with_itself():
    x = np.random.default_rng(0).normal(size=(50, 3, 4, 4))
    found = sample_cosines(x, x, np.random.default_rng(1))
    assert found.mean == pytest.approx(1) and abs(found.shuffled) < 4 / np.sqrt(50 * 48)


def test_each_run_s_mean_sample_is_taken_off():
    """A constant picture added to one run changes nothing; without centring independent runs would agree."""
    a, b = np.random.default_rng(2).normal(size=(2, 50, 16))
    one, other = sample_cosines(a, b, rng := np.random.default_rng(3)), sample_cosines(a, b + 5, rng)
    assert other.mean == pytest.approx(one.mean)


def test_independent_runs_agree_at_0_and_the_interval_covers_it():
    """100 pairs of runs: cosine of two random directions in d 16 is 0 +- 1/sqrt(16) a sample."""
    rng, covered, means = np.random.default_rng(4), 0, []
    for _ in range(100):
        found = sample_cosines(*rng.normal(size=(2, 60, 16)), rng, draws=200)
        means.append(found.mean)
        covered += found.lo <= 0 <= found.hi
    assert np.mean(means) == pytest.approx(0, abs=3 / np.sqrt(16 * 60 * 100)) and covered >= 88


def test_a_half_shared_sample_has_the_known_cosine():
    """b = a + noise of the same length: cosine 1/sqrt 2; the shuffled null stays at 0."""
    a, e = np.random.default_rng(5).normal(size=(2, 400, 256))
    found = sample_cosines(a, a + e, np.random.default_rng(6))
    assert found.mean == pytest.approx(np.sqrt(0.5), abs=0.01) and found.lo < found.mean < found.hi
    assert abs(found.shuffled) < 0.02


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.zeros((5, 2)), np.zeros((4, 2)), "same 3 or more"),
        (np.eye(3), np.full((3, 3), NAN), "not finite"),
        (np.ones((4, 2)), np.ones((4, 2)), "no direction"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(a, b, says):
    with pytest.raises(ValueError, match=says):
        sample_cosines(a, b, np.random.default_rng(0))
