from math import prod

import pytest
import torch

from scaling.quality.coverage import coverage


def line(*at: float) -> torch.Tensor:
    return torch.tensor(at, dtype=torch.float64).reshape(-1, 1)


def test_coverage_by_hand():
    """Held-out 0 1 3 7, k 1: radii 1 1 2 4 (itself never a neighbour). A sample at 3.5 is inside the balls of 3 and 7;
    k 2: radii 3 2 3 6 and 1 is 2.5 away, 0 3.5; a sample at the edge is inside."""
    assert coverage(line(3.5), line(0, 1, 3, 7), k=1) == 0.5
    assert coverage(line(3.5), line(0, 1, 3, 7), k=2) == 0.5
    assert coverage(line(2), line(0, 1, 3, 7), k=1) == 0.5
    assert coverage(line(100), line(0, 1, 3, 7), k=1) == 0


@pytest.mark.parametrize(("k", "expected"), [(3, 0.877), (5, 0.970)])
def test_coverage_of_one_law_is_combinatorial(k, expected):
    """K34b: 200 a side of one law: 1 - prod_{j <= k} (N - j)/(2N - j), whatever the law; 300 studies, .01."""
    assert 1 - prod((200 - j) / (400 - j) for j in range(1, k + 1)) == pytest.approx(expected, abs=5e-4)
    rng = torch.Generator().manual_seed(k)
    sides = torch.randn(300, 2, 200, 6, generator=rng)
    found = sum(coverage(x.exp(), y.exp(), k) for x, y in sides) / 300
    assert found == pytest.approx(expected, abs=0.01)


def test_unequal_sides_follow_the_docstring():
    """50 samples against 200 held-out images, k 5: the same argument with B samples among h - 1 + B others."""
    rng = torch.Generator().manual_seed(0)
    found = [coverage(torch.randn(50, 4, generator=rng), torch.randn(200, 4, generator=rng)) for _ in range(40)]
    expected = 1 - prod((199 - j) / (249 - j) for j in range(5))
    error = float(torch.tensor(found).std()) / 40**0.5
    assert sum(found) / 40 == pytest.approx(expected, abs=3 * error)


def test_against_brute_force_and_in_blocks(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(31, 5, generator=rng) + 0.7, torch.randn(43, 5, generator=rng)
    inside = 0
    for i in range(43):
        others = sorted(float((y[i] - y[j]).norm()) for j in range(43) if j != i)
        inside += any(float((y[i] - s).norm()) <= others[4] for s in x)
    assert 0.2 < inside / 43 < 0.95 and coverage(x, y) == inside / 43
    monkeypatch.setattr("scaling.quality.coverage.BLOCK", 100)
    assert coverage(x, y) == inside / 43


def test_a_lost_mode_is_lost_coverage():
    """Two far modes of 100 images, samples from one: half is covered, as often as that mode alone is."""
    rng = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 100, 4, generator=rng) + torch.tensor([-50.0, 50.0]).reshape(2, 1, 1)
    samples = torch.randn(100, 4, generator=rng) - 50
    assert coverage(samples, torch.cat([left, right])) == coverage(samples, left) / 2 > 0.4


def test_what_cannot_be_measured_is_refused():
    x = torch.randn(6, 3)
    with pytest.raises(ValueError, match=r"5 held-out image\(s\), k=5.*raise data\.holdout"):
        coverage(x, x[:5])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        coverage(x[:0], x)
    with pytest.raises(ValueError, match="equally many features"):
        coverage(x[:, :2], x)
    with pytest.raises(ValueError, match="n_nonfinite"):
        coverage(x / 0, x)
    assert coverage(x, x) == 1
