from itertools import product

import pytest
import torch
from torch import Tensor

from scaling.memorization.criteria import LOOSE, MEMORIZED, gap_ratio, match


def share(passed: Tensor) -> float:
    return float(passed.double().mean())


@pytest.mark.parametrize(("dimension", "expected"), [(1, 0.333), (2, 0.111), (3, 0.037), (4, 0.0123)])
def test_null_on_the_torus_is_a_third_to_the_dimension(dimension: int, expected: float):
    """K4: 1,000 uniform points on the unit torus, each a family of its 3^dimension images under whole shifts."""
    rng = torch.Generator().manual_seed(dimension)
    points = torch.rand(1000, dimension, generator=rng, dtype=torch.float64)
    shifts = torch.tensor(list(product((-1, 0, 1), repeat=dimension)), dtype=torch.float64)
    members = (points[:, None] + shifts).flatten(0, 1)
    family = torch.arange(1000).repeat_interleave(len(shifts))
    samples = torch.rand(4000, dimension, generator=rng, dtype=torch.float64)
    near = (members - 0.5).abs().amax(dim=1) < 0.9  # the others are never among the two nearest
    found = share(gap_ratio(samples, members[near], family[near]).ratio < MEMORIZED)
    assert found == pytest.approx(expected, abs=0.015)


def test_gaussian_null_passes_neither_criterion():
    """K5: samples N(0, I_256) against 500 such."""
    rng = torch.Generator().manual_seed(0)
    found = match(torch.randn(2000, 256, generator=rng), torch.randn(500, 256, generator=rng))
    assert not (found.ratio < MEMORIZED).any() and not (found.calibrated < 1).any()
    assert float(found.ratio.median()) == pytest.approx(0.990, abs=0.02)
    assert float(found.calibrated.median()) == pytest.approx(1.90, abs=0.02)


@pytest.mark.parametrize(
    ("n_unique", "third", "half", "calibrated"),
    [(898, 0, 0.0016, 0.166), (256, 0.0002, 0.0052, 0.282), (64, 0.0007, 0.0115, 0.322)],
)
def test_digits_null(digits: Tensor, n_unique: int, third: float, half: float, calibrated: float):
    """K6: held-out digits as samples, random splits; the calibrated distance is not small on real images."""
    rng, found = torch.Generator().manual_seed(0), []
    for _ in range(12):
        order = torch.randperm(len(digits), generator=rng)
        images = digits.flatten(1)[order]
        found.append(match(images[n_unique:], images[:n_unique]))
    ratio, distance = torch.cat([f.ratio for f in found]), torch.cat([f.calibrated for f in found])
    assert share(ratio < MEMORIZED) == pytest.approx(third, abs=0.002)
    assert share(ratio < LOOSE) == pytest.approx(half, abs=0.002)
    assert share(distance < 1) == pytest.approx(calibrated, abs=0.02)
    if n_unique == 898:  # TwoNN, Facco et al. 2017
        assert float(-1 / ratio.double().log().mean()) == pytest.approx(8.5, abs=0.3)


@pytest.mark.parametrize(("copies", "raw_ratio", "raw_calibrated"), [(1, 1, 1), (2, 0, 1), (10, 0, 1), (60, 0, 0)])
def test_copies_invert_both_criteria_among_rows_and_never_among_unique_images(
    copies: int, raw_ratio: float, raw_calibrated: float
):
    """K7: 500 unique images of 256 pixels, 50 of them with copies; samples are those 50 with a little noise."""
    rng = torch.Generator().manual_seed(0)
    unique = torch.randn(500, 256, generator=rng)
    samples = unique[:50] + 0.02 * torch.randn(50, 256, generator=rng)
    raw = match(samples, torch.cat([unique[:50].repeat(copies, 1), unique[50:]]))
    assert share(raw.ratio < MEMORIZED) == raw_ratio
    assert share(raw.calibrated < 1) == raw_calibrated
    found = match(samples, unique)
    assert share(found.ratio < MEMORIZED) == share(found.calibrated < 1) == 1
    assert torch.equal(found.image, torch.arange(50))


def test_near_copies_count_as_one_family():
    """K8: families of 8 noised members. By hash the second neighbour is a sibling and a copier of members scores 0."""
    rng = torch.Generator().manual_seed(0)
    unique = torch.randn(500, 256, generator=rng)
    near = unique[:50, None] + 0.03 * torch.randn(50, 8, 256, generator=rng)
    members = torch.cat([near.flatten(0, 1), unique[50:]])
    family = torch.cat([torch.arange(50).repeat_interleave(8), torch.arange(50, 500)])
    samples = members[:400] + 0.02 * torch.randn(400, 256, generator=rng)
    by_hash = gap_ratio(samples, members).ratio
    assert not (by_hash < MEMORIZED).any()
    assert float(by_hash.median()) == pytest.approx(0.45, abs=0.03)
    found = match(samples, members, family)
    assert (found.ratio < MEMORIZED).all() and (found.calibrated < 1).all()
    assert torch.equal(found.image, family[:400])
    assert float(found.ratio.median()) == pytest.approx(0.016, abs=0.002)


def test_a_sample_equal_to_an_image_has_ratio_0():
    unique = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    found = match(unique[1:2], unique)
    assert (found.ratio.item(), found.image.item(), found.calibrated.item()) == (0, 1, 0)


def test_by_hand_on_a_line():
    """Images 0, 3, 6 and sample 1: ratio 1/2; l = 1 / (mean(1, 2, 5) / 2) = 3/4. At 1/3 the criterion is strict."""
    line = torch.tensor([[0.0], [3.0], [6.0]], dtype=torch.float64)
    found = match(torch.tensor([[1.0]], dtype=torch.float64), line)
    assert (found.ratio.item(), found.image.item()) == (0.5, 0)
    assert found.calibrated.item() == pytest.approx(0.75)
    exactly_a_third = gap_ratio(torch.tensor([[0.75]], dtype=torch.float64), line).ratio
    assert exactly_a_third.item() == MEMORIZED and not (exactly_a_third < MEMORIZED)


def test_a_sample_equal_to_two_families_belongs_to_neither():
    twins = torch.tensor([[1.0], [1.0]])
    found = match(torch.tensor([[1.0]]), twins)
    assert found.ratio.item() == 1 and found.calibrated.item() == 2
