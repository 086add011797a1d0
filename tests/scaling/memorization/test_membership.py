from itertools import combinations
from math import comb, sqrt
from statistics import NormalDist

import pytest
import torch

from scaling.diffusion.ideal import IdealDenoiser
from scaling.memorization.losses import image_losses
from scaling.memorization.membership import BAND, membership, membership_scores

CHANCE = {64: 0.05123, 256: 0.02554, 1000: 0.01291}  # K16: sqrt((|U| + |H| + 1)/(12 |U| |H|)), |U| = |H|


def normal(rng: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def brute(seen: torch.Tensor, held: torch.Tensor, paired: bool = False) -> tuple[float, float]:
    """AUC and SE from the N x M table of comparisons, as measures.md 2.5 writes them."""
    u, h = seen[:, None], held[None]
    won = (u > h).double() + (u == h).double() / 2
    v, v_ = won.mean(dim=1), 1 - won.mean(dim=0)  # share of the other set won, by each side
    variance = v.var() / len(seen) + v_.var() / len(held)
    if paired:
        variance -= 2 * torch.cov(torch.stack([v, v_]))[0, 1] / len(seen)
    return float(won.mean()), float(variance.sqrt())


def test_the_small_table_is_the_known_one():
    """K16: ties count half; equal scores give .5 exactly, with nothing out of order 1 exactly."""
    assert membership(torch.tensor([3.0, 2, 2]), torch.tensor([1.0, 2])).auc == pytest.approx(5 / 6, abs=1e-12)
    assert membership(torch.ones(7), torch.ones(3)).auc == 0.5
    apart = membership(torch.rand(49) + 2, torch.rand(101))
    assert (apart.auc, apart.auc_se, apart.tpr) == (1.0, 0.0, 1.0)


def test_delong_is_the_known_one():
    """K19."""
    found = membership(torch.tensor([1.0, 2, 3, 4]), torch.tensor([0.0, 1.5, 2.5]))
    assert (found.auc, found.auc_se) == (pytest.approx(0.75, abs=1e-12), pytest.approx(0.21517, abs=1e-5))


@pytest.mark.parametrize("values", [3, 12, 10**6])
@pytest.mark.parametrize("paired", [False, True])
def test_sorting_gives_what_every_comparison_gives(values, paired):
    """O(NM), with many ties, some and hardly any."""
    rng = torch.Generator().manual_seed(values)
    for n, m in ((2, 2), (17, 17), (40, 40)) if paired else ((2, 3), (31, 7), (5, 60)):
        seen, held = (torch.randint(values, (size,), generator=rng).double() for size in (n, m))
        found = membership(seen, held, paired=paired)
        assert (found.auc, found.auc_se) == pytest.approx(brute(seen, held, paired), abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (4, 3), (2, 6)])
def test_at_chance_every_order_of_few_images_gives_the_closed_forms(n, m):
    """Enumerated: AUC has variance (n + m + 1)/(12 n m); the mean of DeLong's is one more, (n + m + 2)/(12 n m)."""
    ranks = torch.arange(float(n + m))
    found = []
    for mine in combinations(range(n + m), n):
        inside = torch.zeros(n + m, dtype=torch.bool)
        inside[list(mine)] = True
        found.append(membership(ranks[inside], ranks[~inside])[:2])
    auc, se = torch.tensor(found, dtype=torch.float64).T
    assert len(auc) == comb(n + m, n) and float(auc.mean()) == pytest.approx(0.5, abs=1e-12)
    assert float(auc.var(correction=0)) == pytest.approx((n + m + 1) / (12 * n * m), rel=1e-9)
    assert float(se.square().mean()) == pytest.approx((n + m + 2) / (12 * n * m), rel=1e-9)


@pytest.mark.parametrize("n", [64, 256, 1000])
def test_the_chance_error_is_the_known_one(n):
    """K16, both told and seen: the spread of 400 values of AUC has a standard error of 3.5 %."""
    rng = torch.Generator().manual_seed(n)
    auc, se = torch.tensor([membership(normal(rng, n), normal(rng, n))[:2] for _ in range(400)]).double().T
    assert float(se.square().mean().sqrt()) == pytest.approx(CHANCE[n], rel=0.01)
    assert float(auc.std()) == pytest.approx(CHANCE[n], rel=0.11)
    assert abs(float(auc.mean()) - 0.5) < 3 * CHANCE[n] / sqrt(400)


@pytest.mark.parametrize(
    ("delta", "auc", "tpr"),
    [(0.5, 0.63816, (0.0336, 0.0265)), (1, 0.76025, (0.0912, 0.0735)), (2, 0.92135, (0.3667, 0.3144))],
)
def test_shifted_normals_give_the_known_rates(delta, auc, tpr):
    """K17, at 1,000 and at 256 held-out images; 3 standard errors of 400 draws."""
    rng = torch.Generator().manual_seed(int(10 * delta))
    assert auc == pytest.approx(NormalDist().cdf(delta / sqrt(2)), abs=1e-5)
    for held, rate in zip((1000, 256), tpr, strict=True):
        made = [membership(normal(rng, 500) + delta, normal(rng, held)) for _ in range(400)]
        for known, values in ((auc, [one.auc for one in made]), (rate, [one.tpr for one in made])):
            found = torch.tensor(values, dtype=torch.float64)
            assert abs(float(found.mean()) - known) < 3 * float(found.std()) / 20 + 5e-5  # printed to 4 digits


@pytest.mark.parametrize(("held", "known"), [(100, 0.0099), (256, 0.0078), (1000, 0.0100)])
def test_true_positives_at_chance_are_the_known_ones(held, known):
    """K18: k/(|H| + 1)."""
    rng = torch.Generator().manual_seed(held)
    found = [membership(normal(rng, 2000), normal(rng, held)).tpr for _ in range(1000)]
    assert sum(found) / 1000 == pytest.approx(known, abs=1e-3)


def test_below_99_held_out_images_there_is_no_one_percent():
    seen = torch.arange(50.0, 150.0)
    assert membership(seen, torch.arange(98.0)).tpr is None
    assert membership(seen, torch.arange(99.0)).tpr == 0.51  # above 98, the largest; 98 itself is not above
    assert membership(seen, torch.arange(199.0)).tpr == 0.0
    assert membership(seen + 48, torch.arange(199.0)).tpr == 0.0  # k = 2: the largest score is 197, the level 197
    assert membership(seen + 49, torch.arange(199.0)).tpr == 0.01


@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_the_interval_covers_what_it_promises(delta):
    """90 % of 1,500 studies of 64 + 48 images; the standard error of the coverage is .8 %."""
    rng = torch.Generator().manual_seed(1)
    truth, hits = NormalDist().cdf(delta / sqrt(2)), 0
    for _ in range(1500):
        found = membership(normal(rng, 64) + delta, normal(rng, 48))
        hits += abs(found.auc - truth) < 1.645 * found.auc_se
    assert hits / 1500 == pytest.approx(0.90, abs=0.025)


def test_shared_noise_is_taken_off_the_error_of_pairs():
    """Image i of both sides shares an effect of sd 1.5: the paired SE is the true spread, the plain one far above."""
    rng, made = torch.Generator().manual_seed(2), []
    for _ in range(1500):
        shared = 1.5 * normal(rng, 64)
        seen, held = normal(rng, 64) + shared, normal(rng, 64) + shared
        pair = membership(seen, held, paired=True)
        made.append((pair.auc, pair.auc_se, membership(seen, held).auc_se))
    auc, paired, plain = torch.tensor(made, dtype=torch.float64).T
    assert float(paired.square().mean().sqrt()) == pytest.approx(float(auc.std()), rel=0.06)
    assert float(plain.mean()) > 1.5 * float(auc.std())
    assert float(((auc - 0.5).abs() < 1.645 * paired).double().mean()) == pytest.approx(0.90, abs=0.025)


def test_a_weight_counts_as_so_many_equal_images():
    """So do the held-out images' shares; the error of the others is of as many images as were looked at."""
    rng = torch.Generator().manual_seed(3)
    seen, held = torch.randint(9, (40,), generator=rng).double(), torch.randint(8, (120,), generator=rng).double()
    seen[:5] = 9.0
    weight = torch.randint(1, 6, (40,), generator=rng)
    found, repeated = membership(seen, held, weight=weight), membership(seen.repeat_interleave(weight), held)
    assert (found.auc, found.tpr) == pytest.approx((repeated.auc, repeated.tpr), abs=1e-12) and 0 < found.tpr < 1
    won = (seen[:, None] > held).double() + (seen[:, None] == held).double() / 2
    v, v_ = won.mean(dim=1), won.repeat_interleave(weight, dim=0).mean(dim=0)
    share = weight.double() / weight.sum()
    variance = (share * (v - found.auc)).square().sum() * 40 / 39 + v_.var() / 120
    assert found.auc_se == pytest.approx(float(variance.sqrt()), abs=1e-12)
    plain = membership(seen, held)
    assert membership(seen, held, weight=torch.full((40,), 3.0)) == pytest.approx(plain, abs=1e-12)


def test_scores_are_minus_the_mean_loss_inside_the_band():
    """Both ends belong to it."""
    sigmas = torch.tensor([0.1699, BAND[0], 0.5, BAND[1], 1.2401], dtype=torch.float64)
    losses = torch.tensor([[90.0, 1, 2, 6, 90], [0, 4, 4, 4, 0]]).double()
    assert membership_scores(losses, sigmas).tolist() == [-3, -4]


def test_a_copier_is_caught_and_the_true_denoiser_is_not(digits, generalizer):
    """Section 5: D* of the training set against held-out images; the null, E[x0 | x] of the population."""
    sigmas = torch.tensor([0.2, 0.4, 0.8], dtype=torch.float64)

    def attack(denoiser, seen, held):
        at = torch.arange(len(seen))
        scores = [
            membership_scores(image_losses(denoiser, part, None, at, sigmas, sigma_data=1.0), sigmas)
            for part in (seen, held)
        ]
        return membership(*scores, paired=True)

    seen, held = digits[:128], digits[128:256]
    assert attack(IdealDenoiser(seen, torch.ones(128, dtype=torch.int64)), seen, held).auc > 0.99
    drawn = torch.randn(512, 1, 4, 4, generator=torch.Generator().manual_seed(4))
    null = attack(generalizer(torch.zeros(16)), *drawn.split(256))
    assert abs(null.auc - 0.5) < 3 * null.auc_se and 0.01 < null.auc_se < CHANCE[256]


@pytest.mark.parametrize(
    ("seen", "held", "more", "says"),
    [
        ([], [1.0], {}, "0 training and 1 held-out"),
        ([1.0], [], {}, "1 training and 0 held-out"),
        ([1.0, float("nan")], [1.0], {}, "1 of 3 scores"),
        ([1.0, 2.0], [float("inf")], {}, "1 of 3 scores"),
        ([1.0, 2.0], [1.0], {"paired": True}, "2 and 1 scores cannot be paired"),
        ([1.0, 2.0], [1.0, 0.0], {"paired": True, "weight": torch.ones(2)}, "without weights"),
        ([1.0, 2.0], [1.0], {"weight": torch.ones(1)}, "1 weights for 2"),
        ([1.0, 2.0], [1.0], {"weight": torch.tensor([1.0, 0.0])}, "a positive one for each"),
    ],
)
def test_what_cannot_be_compared_is_refused(seen, held, more, says):
    with pytest.raises(ValueError, match=says):
        membership(torch.tensor(seen), torch.tensor(held), **more)


def test_no_level_in_the_band_is_refused():
    with pytest.raises(ValueError, match=r"no noise level of 2 to 3 lies within 0\.17 to 1\.24: raise evaluate\.draws"):
        membership_scores(torch.ones(4, 2), torch.tensor([2.0, 3.0]))


def test_one_image_has_no_error():
    found = membership(torch.tensor([1.0]), torch.tensor([0.0, 2.0]))
    assert found.auc == 0.5 and found.auc_se != found.auc_se
