"""The cyclic attack against closed forms of its chains and the reference models of measures.md section 5."""

from math import erf, sqrt

import pytest
import torch

from scaling.diffusion.ideal import IdealDenoiser
from scaling.diffusion.sampler import heun, karras_sigmas
from scaling.memorization.criteria import MEMORIZED, gap_ratio
from scaling.memorization.cyclic import cyclic_attack, cyclic_extraction


def test_chains_of_the_copier_follow_the_switching_law():
    """Two images +a and -a on one axis: the flow keeps the sign, so a cycle switches with p = Phi(-a/sigma_c) and after
    t cycles (1 - (1 - 2p)^t)/2 of the chains are at the other image. 2,000 chains, 3 SE."""
    a, sigma_c = 0.5, 0.5
    pair = torch.zeros(2, 1, 2, 2)
    pair[:, 0, 0, 0] = torch.tensor([a, -a])
    start = pair[:1].expand(2000, -1, -1, -1)
    p = (1 - erf(a / sigma_c / sqrt(2))) / 2
    copier = IdealDenoiser(pair, torch.ones(2))
    for t, x in enumerate(cyclic_attack(copier, start, sigma_c=sigma_c, steps=12, cycles=4), start=1):
        assert ((x - pair[:, None]).flatten(2).norm(dim=2).amin(dim=0) < 0.05).all()  # every end is an image
        share, expected = float((x[:, 0, 0, 0] < 0).double().mean()), (1 - (1 - 2 * p) ** t) / 2
        assert abs(share - expected) < 3 * sqrt(expected * (1 - expected) / 2000)


def test_the_union_grows_as_the_switching_law_says():
    """64 pairs of images far apart, a chain started at one of each: by cycle t the expected number of images visited is
    64 (2 - (1 - p)^t - p (1 - p)^(t - 1)): the other is missing if no cycle switched, the first if the first cycle
    switched and none came back."""
    a = sigma_c = 0.1
    signs = (torch.arange(64)[:, None] & 2 ** torch.arange(6)).bool().float().repeat(1, 12)[:, :64] * 1.6 - 0.8
    first, other = signs.clone(), signs.clone()
    first[:, 0], other[:, 0] = a, -a
    unique = torch.stack([first, other], dim=1).reshape(128, 1, 8, 8)
    p = (1 - erf(1 / sqrt(2))) / 2
    found = cyclic_extraction(
        IdealDenoiser(unique, torch.ones(128)), unique[::2], unique.flatten(1), None, torch.rand(4, 64),
        sigma_c=sigma_c, steps=12, cycles=12,
    )  # fmt: skip
    t = torch.arange(1, 13).double()
    missing = torch.stack([(1 - p) ** t, p * (1 - p) ** (t - 1)])
    expected = 64 * (2 - missing.sum(dim=0))
    # Of one pair at most one image is missing (every end is an image): a Bernoulli number of this variance.
    se = (64 * missing.sum(dim=0) * (1 - missing.sum(dim=0))).sqrt()
    assert ((found.by_cycle - expected).abs() < 3 * se.clamp(min=1 / 3)).all()
    assert (found.by_cycle.diff() >= 0).all() and found.by_cycle[-1] == found.extracted.sum()
    assert found.null_extracted.sum() == 0 and (found.n_chains, found.n_nonfinite) == (64, 0)


def test_the_copier_of_digits_gives_only_training_images_and_more_with_every_cycle(digits):
    """16 chains that all start at one image, far above the collapse level: a cycle is nearly a fresh draw from U, so
    the union grows as the attack budget of 16 t samples: 32 (1 - (31/32)^(16 t)); 3 SE of simulated draws."""
    unique, held = digits[:32], digits[32:64]
    copier, start = IdealDenoiser(unique, torch.ones(32)), unique[:1].expand(16, -1, -1, -1)
    for x in cyclic_attack(copier, start, sigma_c=20.0, steps=12, cycles=3):
        assert (gap_ratio(x.flatten(1), unique.flatten(1)).ratio < MEMORIZED).all()
    found = cyclic_extraction(
        copier, start, unique.flatten(1), None, held.flatten(1), sigma_c=20.0, steps=12, cycles=6
    )  # fmt: skip
    draws = torch.randint(32, (500, 6, 16), generator=torch.Generator().manual_seed(0))
    union = torch.tensor([[len(row[: t + 1].unique()) for t in range(6)] for row in draws]).double()
    torch.testing.assert_close(
        union.mean(0), 32 * (1 - (31 / 32) ** (16 * torch.arange(1, 7).double())), atol=0.3, rtol=0
    )
    assert ((found.by_cycle - union.mean(0)).abs() < 3 * union.std(0).clamp(min=0.5)).all()
    assert found.null_extracted.sum() == 0


def test_the_generalizer_gives_none_of_either_set(generalizer):
    """Section 5: chains of the exact population come to no image, seen or held out; inside [-1, 1]."""
    rng = torch.Generator().manual_seed(0)
    seen, held = (0.4 * torch.randn(64, 16, generator=rng)).split(32)
    noise = 80 * torch.randn(100, 1, 4, 4, generator=rng)
    model = generalizer(torch.zeros(16))
    samples = heun(model, noise, karras_sigmas(18)).clamp(-1, 1)
    found = cyclic_extraction(model, samples, seen, None, held, sigma_c=1.0, steps=8, cycles=4)
    assert found.by_cycle.tolist() == [0] * 4 and not found.extracted.any() and not found.null_extracted.any()


def test_families_labels_and_batches_stay_with_their_chain(digits):
    """A conditional copier (unique labels) returns each chain to its own image; near copies count as one."""
    unique = digits[:5]
    members, family = torch.cat([unique + 0.01, unique]).flatten(1), torch.arange(5).repeat(2)
    copier, chosen = IdealDenoiser(unique, torch.ones(5), labels=torch.arange(5)), torch.tensor([4, 1, 2])
    found = cyclic_extraction(
        copier, digits[7:10], members, family, digits[20:22].flatten(1),
        sigma_c=20.0, steps=8, cycles=2, labels=chosen, batch_size=2,
    )  # fmt: skip
    assert found.extracted.nonzero().flatten().tolist() == [1, 2, 4] and found.by_cycle.tolist() == [3, 3]


def test_noise_is_keyed_by_sample_and_cycle(digits):
    """A chain alone ends where it ends beside others, and every cycle has noise of its own."""
    starts = []

    def spy(x, sigma, labels):
        if float(sigma[0]) == 1:
            starts.append(x - 0)
        return torch.zeros_like(x)

    both = list(cyclic_attack(spy, torch.zeros(3, 1, 2, 2), sigma_c=1.0, steps=2, cycles=2, batch_size=2))
    assert len(both) == 2 and len(torch.cat(starts).flatten(1)[:, 0].unique()) == 6
    alone = list(cyclic_attack(spy, torch.zeros(1, 1, 2, 2), sigma_c=1.0, steps=2, cycles=2))
    torch.testing.assert_close(alone[1], both[1][:1], rtol=0, atol=0)


def test_a_chain_that_diverges_is_left_out_and_counted(digits):
    """Chain 1 is lost in the second cycle; what it had found in the first stays found, and the others go on."""
    unique, calls = digits[:2], []

    def copier(x, sigma, labels):
        calls.append(len(x))
        out = IdealDenoiser(unique, torch.ones(2), labels=torch.arange(2))(x, sigma, labels)
        out[1] = out[1] * (torch.nan if len(calls) > 5 else 1)  # 3 steps: 5 evaluations a cycle
        return out

    found = cyclic_extraction(
        copier, unique, unique.flatten(1), None, digits[5:9].flatten(1),
        sigma_c=1.0, steps=3, cycles=3, labels=torch.arange(2),
    )  # fmt: skip
    assert (found.n_chains, found.n_nonfinite) == (1, 1) and found.by_cycle.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("sigma_c", "cycles", "name"), [(0.001, 2, "basin_sigma"), (1.0, 0, "cycles"), (1.0, 1025, "cycles")]
)
def test_an_attack_outside_its_range_is_refused(digits, sigma_c, cycles, name):
    with pytest.raises(ValueError, match=rf"evaluate\.{name}"):
        next(cyclic_attack(lambda x, s, labels: x, digits[:2], sigma_c=sigma_c, steps=3, cycles=cycles))
