"""Columns of an evaluation on models whose answer is known, and what stays empty with its reason."""

import logging

import numpy as np
import pytest
import torch

from scaling.config import build
from scaling.data.sources import load_images
from scaling.data.training_set import assemble
from scaling.diffusion.ideal import IdealDenoiser
from scaling.training.bench import Bench
from scaling.training.instruments.measurement import Measurement
from scaling.training.instruments.samples import MOST_SPURIOUS, judge
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


def emitted(bench: Bench, evaluate, strangers: torch.Tensor, times: list[int]) -> Measurement:
    """What `cliques` finds in samples of strangers[k] times[k] times, of a training image 30 times, one held out 20."""
    parts = [(bench.train.images[0], 30), (bench.holdout.images[0], 20), *zip(strangers, times, strict=True)]
    drawn = torch.cat([image.expand(count, *image.shape) for image, count in parts])
    found = Measurement.empty(bench, evaluate)
    noise = torch.randn(drawn.shape, generator=torch.Generator().manual_seed(0))
    judge((drawn + 0.002 * noise).clamp(-1, 1), None, bench, evaluate, found, {"cliques"})
    return found


def test_the_largest_spurious_groups_are_kept_to_be_looked_at():
    """Ten images of neither set, 3 to 12 times each: the eight that came most often, each beside its nearest image."""
    bench, evaluate = prepared({"measures": ["cliques"]})
    rng = torch.Generator().manual_seed(3)
    strangers = torch.rand(10, 1, 8, 8, generator=rng) * 2 - 1
    times = [5, 12, 3, 8, 10, 4, 6, 11, 7, 9]
    found = emitted(bench, evaluate, strangers, times)
    assert (found.evals["n_flagged"], found.evals["n_flagged_true"], found.evals["n_spurious"]) == (12, 1, 10)
    order = sorted(range(10), key=lambda k: -times[k])[:MOST_SPURIOUS]
    assert found.arrays["spurious_size"].tolist() == [times[k] for k in order]
    kept = found.arrays["spurious_samples"].astype(float) / 127.5 - 1
    np.testing.assert_allclose(kept, strangers[order].numpy(), atol=0.03)
    far = torch.cdist(strangers[order].flatten(1), bench.train.images.flatten(1))
    two = far.topk(2, largest=False)
    np.testing.assert_allclose(found.arrays["spurious_ratio"], two.values[:, 0] / two.values[:, 1], atol=0.01)
    nearest = found.arrays["spurious_nearest"].astype(float) / 127.5 - 1
    np.testing.assert_allclose(nearest, bench.train.images[two.indices[:, 0]].numpy(), atol=0.005)


def test_without_a_spurious_group_the_pictures_are_empty():
    bench, evaluate = prepared({"measures": ["cliques"]})
    found = emitted(bench, evaluate, torch.empty(0, 1, 8, 8), [])
    assert found.evals["n_flagged"] == 2 and found.evals["n_spurious"] == 0
    assert found.arrays["spurious_samples"].shape == found.arrays["spurious_nearest"].shape == (0, 1, 8, 8)
    assert len(found.arrays["spurious_size"]) == len(found.arrays["spurious_ratio"]) == 0
