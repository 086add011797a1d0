"""Columns of an evaluation on models whose answer is known, and what stays empty with its reason."""

import logging

import pytest
import torch

from scaling.config import build
from scaling.data.sources import load_images
from scaling.data.training_set import assemble
from scaling.diffusion.ideal import IdealDenoiser
from scaling.training.bench import Bench
from scaling.training.measure import measure


def prepared(evaluate: dict, **data) -> tuple[Bench, object]:
    config = build({"data": {"n_unique": 32, "holdout": 40, **data}, "model": {"width": 2}, "evaluate": evaluate})
    images = load_images("digits", 8, None)
    return Bench.of(config, assemble(config, images), images, torch.device("cpu")), config.evaluate


@pytest.mark.parametrize("conditioning", ["class", "unique"])
def test_a_copier_that_heeds_labels_agrees_with_all_of_them(conditioning):
    """measures.md 1.3: D* restricted to the label: agreement 1."""
    bench, evaluate = prepared({"measures": ["neighbors"], "samples": 64}, conditioning=conditioning)
    found = measure(bench.train.ideal, bench, evaluate).evals
    assert found["n_label_agreed"] == found["n_memorized"] > 60


def test_a_copier_that_ignores_labels_agrees_as_often_as_chance():
    """measures.md 1.3: null sum_c (N_c / N)^2; within 3 standard errors."""
    bench, evaluate = prepared(
        {"measures": ["neighbors"], "samples": 512},
        conditioning="class",
        duplication={"design": "spectrum", "levels": 4},
    )
    ignorant = IdealDenoiser(bench.train.images, bench.train.copies_tensor())
    found = measure(ignorant, bench, evaluate).evals
    chance, n = found["label_agreed_null"], found["n_memorized"]
    assert abs(found["n_label_agreed"] / n - chance) < 3 * (chance * (1 - chance) / n) ** 0.5 and n > 400


def test_what_cannot_be_measured_is_empty_and_says_why(caplog):
    """Four held-out images: no 5-neighbour balls, no 1 % of them; two levels far above the band of membership."""
    bench, evaluate = prepared({"measures": ["loss", "membership", "quality", "keys"], "samples": 16}, holdout=4)
    bench.sigmas = torch.tensor([2.0, 3.0], dtype=torch.float64)
    with caplog.at_level(logging.INFO):
        found = measure(bench.train.ideal, bench, evaluate).evals
    for name in ("coverage", "membership_auc", "tpr_at_1pct_fpr", "n_keys"):
        assert found.get(name) is None, name
    for reason in ("coverage is left empty", "membership is left empty: no noise level", "keys are left empty"):
        assert reason in caplog.text


def test_samples_that_are_not_finite_are_refused_and_counted(caplog):
    """Never counted as not memorized: half of the samples NaN leaves half, all NaN leaves every column empty."""
    bench, evaluate = prepared({"measures": ["neighbors", "cliques", "quality", "cyclic"], "samples": 32, "cycles": 1})
    copier = bench.train.ideal

    def broken(share: float):
        def denoiser(x, sigma, labels=None):
            out = copier(x, sigma, labels)
            return torch.where(torch.arange(len(x))[:, None, None, None] < share * len(x), torch.nan, out)

        return denoiser

    half = measure(broken(0.5), bench, evaluate).evals
    assert (half["n_generated"], half["n_nonfinite"]) == (16, 16) and half["n_memorized"] == 16
    none = measure(broken(1.0), bench, evaluate).evals
    assert (none["n_generated"], none["n_nonfinite"]) == (0, 32)
    assert all(none.get(name) is None for name in ("n_memorized", "n_flagged", "kid", "n_cyclic", "coverage"))
