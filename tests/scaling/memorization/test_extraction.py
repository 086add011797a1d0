import torch
from scipy.stats import chisquare

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.diffusion.ideal import IdealDenoiser
from scaling.diffusion.sampler import heun, karras_sigmas, sample
from scaling.memorization.criteria import MEMORIZED, Match, match
from scaling.memorization.extraction import Stratum, extraction


def test_counts_by_hand():
    """Five samples among three images, two strata; image 2 is nearest to none, image 1 only to one that fails."""
    found = Match(
        ratio=torch.tensor([0.2, 0.3, 0.4, 0.6, 0.26]),
        image=torch.tensor([0, 0, 0, 1, 0]),
        calibrated=torch.tensor([0.5, 1.0, 0.9, 0.8, 2.0]),
    )
    got = extraction(found, torch.tensor([4, 1, 1]))
    assert (got.n_memorized, got.n_memorized_14, got.n_memorized_12, got.n_calibrated) == (3, 1, 4, 3)
    assert got.n_extracted == 1 and got.hits.tolist() == [3, 0, 0]
    assert got.best_ratio[:2].tolist() == torch.tensor([0.2, 0.6]).tolist() and got.best_ratio[2].isnan()
    assert got.strata == (
        Stratum(copies=1, n_images=2, n_extracted=0, n_hits=0, n_memorized_14=0, n_memorized_12=0, n_calibrated=1),
        Stratum(copies=4, n_images=1, n_extracted=1, n_hits=3, n_memorized_14=1, n_memorized_12=4, n_calibrated=2),
    )


def test_the_copier_is_fully_memorized_and_hits_follow_copies(digits):
    """K12: D* of 32 digits, 8 each with 1 2 4 8 copies, 18 Heun steps, 4,096 samples."""
    unique, copies = digits[:32], torch.tensor([1, 2, 4, 8]).repeat(8)
    noise = normals(CONSTANT, "sample", torch.arange(4096), 64).reshape(-1, 1, 8, 8)
    samples = sample(IdealDenoiser(unique, copies), noise, karras_sigmas(18), batch_size=4096).flatten(1)
    got = extraction(match(samples, unique.flatten(1)), copies)
    assert got.n_memorized == 4096 and got.n_extracted == 32
    assert not (match(samples, digits[32:64].flatten(1)).ratio < MEMORIZED).any()
    hits = [stratum.n_hits for stratum in got.strata]
    assert chisquare(hits, [4096 * r / 15 for r in (1, 2, 4, 8)]).pvalue > 0.01


def test_the_half_copier_is_half_memorized(half_copier):
    """Section 5: half U, half N(0, I), d 16, n 32: .466 of 4,000 samples (18 steps); 0 against other images."""
    rng = torch.Generator().manual_seed(0)
    unique, others = torch.randn(2, 32, 16, generator=rng)
    noise = 80 * torch.randn(4000, 1, 4, 4, generator=rng, dtype=torch.float64)
    samples = heun(half_copier(unique.reshape(-1, 1, 4, 4)), noise, karras_sigmas(18)).flatten(1).float()
    got = extraction(match(samples, unique), torch.ones(32, dtype=torch.int64))
    assert abs(got.n_memorized / 4000 - 0.466) < 3 * (0.25 / 4000) ** 0.5
    assert got.n_extracted == 32
    assert (match(samples, others).ratio < MEMORIZED).sum() <= 2


def test_the_generalizer_memorizes_no_more_than_its_null(generalizer):
    """Section 5: exact posterior mean of a population of which U and H are draws."""
    rng = torch.Generator().manual_seed(0)
    mu = torch.full((16,), 0.5)
    sign = torch.randint(2, (64, 1), generator=rng) * 2 - 1
    images = sign * mu + torch.randn(64, 16, generator=rng)
    noise = 80 * torch.randn(2000, 1, 4, 4, generator=rng)
    samples = heun(generalizer(mu), noise, karras_sigmas(18)).flatten(1)
    seen, null = (int((match(samples, part).ratio < MEMORIZED).sum()) for part in images.split(32))
    assert seen <= 2 and null <= 2
