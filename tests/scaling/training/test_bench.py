"""What all evaluations share: which images are measured, and references that are made once."""

import numpy as np
import torch

from scaling.config import build
from scaling.data.sources import load_images
from scaling.data.training_set import assemble
from scaling.memorization.losses import measured_images
from scaling.training.bench import Bench


def bench(**data) -> Bench:
    config = build({"data": {"n_unique": 60, "holdout": 40, **data}, "model": {"width": 2}})
    images = load_images("digits", 8, None)
    return Bench.of(config, assemble(config, images), images, torch.device("cpu"))


def test_runs_that_differ_in_their_fold_measure_the_same_images(monkeypatch):
    """Above the limit the images are chosen before the fold leaves, else no image would be measured in and out."""
    monkeypatch.setattr("scaling.memorization.losses.measured_images.__defaults__", (20, 1))
    spectrum = {"design": "spectrum", "levels": 3}
    halves = [bench(duplication=spectrum, draw=0, fold={"index": index}) for index in (0, 1)]
    inside = [set(half.measured.positions.tolist()) for half in halves]
    outside = [set(half.left_out.positions.tolist()) for half in halves]
    assert inside[0] == outside[1] and inside[1] == outside[0] and len(inside[0] | inside[1]) == 18
    for half in halves:
        weight, copies = half.loss_subset.weight.numpy(), half.measured.copies
        for r in half.train.strata:  # each stratum stands for all of its images in training
            assert weight[copies == r].sum() == (half.train.copies == r).sum()


def test_without_fold_the_subset_is_that_of_the_losses(monkeypatch):
    monkeypatch.setattr("scaling.memorization.losses.measured_images.__defaults__", (20, 1))
    made = bench(duplication={"design": "spectrum", "levels": 3})
    wanted = measured_images(torch.tensor(made.data.copies))
    assert torch.equal(made.loss_subset.index, wanted.index)
    torch.testing.assert_close(made.loss_subset.weight, wanted.weight)


def test_the_chance_of_a_label_counts_copies():
    """By hand: three labels that stand 1, 2 and 4 times in training: (1 + 4 + 16) / 49."""
    made = bench(n_unique=3, conditioning="unique", duplication={"design": "spectrum", "levels": 3})
    assert np.isclose(made.chance_of_label, 21 / 49)


def test_a_reference_is_made_once():
    made, calls = bench(), []
    for _ in range(2):
        assert made.once("it", lambda: calls.append(1) or 7) == 7
    assert calls == [1]


def test_the_silent_denoiser_scores_one_on_the_source():
    """measures.md 0: network output 0 scores 1 on the centred source, within .01."""
    made, images = bench(), load_images("digits", 8, None)
    clean = torch.tensor(images.pixels).float() / 127.5 - 1
    sigma = torch.full((len(clean),), 0.5)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    squared = (made.silent(clean + 0.5 * noise, sigma) - clean).square().flatten(1).mean(1)
    weight = (0.5**2 + images.std**2) / (0.5 * images.std) ** 2
    assert abs(float(weight * squared.mean()) - 1) < 0.01
