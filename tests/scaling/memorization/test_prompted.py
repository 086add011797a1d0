import pytest
import torch

from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser
from scaling.memorization.prompted import known_pixels, prompted_recovery

STEPS = 40  # of K21 to K23
CONTEXTS = ("1/8", "1/4", "1/2", "3/4")


def rates(denoiser, images, context, rounds, attempts):
    """recovered bool [attempts N]: every image prompted so often, each time with noise of its own."""
    n = len(images)
    index = torch.arange(n * attempts)
    found = prompted_recovery(
        denoiser, images.repeat(attempts, 1, 1, 1), index, images, index % n,
        context=context, rounds=rounds, steps=STEPS, batch_size=1024,
    )  # fmt: skip
    return found.recovered.reshape(attempts, n)


@pytest.fixture(scope="module")
def copier(digits):
    """D* of the first 32 digits."""
    return IdealDenoiser(digits[:32], torch.ones(32))


def conditional(unique, copies, images, known):
    """D* given the known pixels of images[label] exactly: the mean over those unique images that agree with them."""
    agree = ((unique[None] == images[:, None]) | ~known[:, None]).flatten(2).all(dim=2)

    u = unique.flatten(1).double()

    def denoiser(x, sigma, labels):
        squared = torch.cdist(x.flatten(1).double(), u).square()
        logits = copies.double().log() - squared / (2 * sigma.double().square()[:, None])
        return (logits.masked_fill(~agree[labels], -torch.inf).softmax(dim=1) @ u).to(x).reshape(x.shape)

    return denoiser


@pytest.mark.parametrize(("context", "rows"), [("1/8", 1), ("1/2", 4)])
def test_exact_conditional_sampling_recovers_all_but_ties(digits, context, rows):
    """K21: rate 1. Two of these digits have the same first row: at 1/8 each of them comes back half the time."""
    unique, index, attempts = digits[:32], torch.arange(32), 10
    shown = unique[:, 0, :rows].flatten(1)
    alone = (shown[:, None] == shown).all(dim=2).sum(dim=1) == 1
    assert alone.sum() == (30 if rows == 1 else 32)
    denoiser = conditional(unique, torch.ones(32), unique, known_pixels(context, index, 8))
    found = torch.stack([
        prompted_recovery(
            denoiser, unique, index, unique, index, context=context, rounds=1, steps=STEPS, labels=index, attempt=turn
        ).recovered
        for turn in range(attempts)
    ])  # fmt: skip
    assert found[:, alone].all()
    tied = found[:, ~alone]
    assert not tied.numel() or 0.2 < tied.double().mean() < 0.8


def test_an_exact_tie_is_split_by_copies(digits):
    """K21: two images with the same known half, copies 3 and 1: .75 and .25 (3 SE)."""
    second, n = torch.cat([digits[:1, :, :4], digits[1:2, :, 4:]], dim=2), 1000
    unique, copies = torch.cat([digits[:1], second, digits[2:32]]), torch.tensor([3, 1] + [1] * 30)
    target, index = torch.arange(2).repeat_interleave(n), torch.arange(2 * n)
    denoiser = conditional(unique, copies, unique[:2], known_pixels("1/2", index[:2], 8))
    found = prompted_recovery(
        denoiser, unique[target], index, unique, target, context="1/2", rounds=1, steps=STEPS, labels=target,
    ).recovered.double()  # fmt: skip
    assert abs(found[:n].mean() - 0.75) < 3 * (0.75 * 0.25 / n) ** 0.5
    assert abs(found[n:].mean() - 0.25) < 3 * (0.75 * 0.25 / n) ** 0.5


@pytest.mark.parametrize(
    ("rounds", "attempts", "expected"),
    [
        (1, 20, (0.04, 0.11, 0.51, 0.98)),
        (10, 6, (0.08, 0.22, 0.85, 1)),
        pytest.param(30, 40, (0.11, 0.29, 0.94, 1), marks=pytest.mark.slow),
    ],
)
def test_the_ceiling_is_that_of_replacement(digits, copier, rounds, attempts, expected):
    """K22 (tolerance .06): replacement is no conditional sampling, and rounds bring it nearer."""
    for context, rate in zip(CONTEXTS, expected, strict=True):
        assert abs(rates(copier, digits[:32], context, rounds, attempts).double().mean() - rate) < 0.06


@pytest.mark.slow
def test_any_of_64_attempts_recovers_nearly_all(digits, copier):
    """K23 (tolerance .05): .91, 1, 1. Its .91 is one set of attempts at 32 images, SE .04; here the mean of 8 sets."""
    short = rates(copier, digits[:32], "1/8", 1, 8 * 64).reshape(8, 64, 32).any(dim=1)
    assert abs(short.double().mean() - 0.91) < 0.05
    for context in ("1/4", "1/2"):
        assert rates(copier, digits[:32], context, 1, 64).any(dim=0).double().mean() > 0.95


def test_held_out_prompts_are_not_recovered(digits, copier):
    """K23 (tolerance .05): 0 up to half the rows; .03 with 3/4 of them, in one attempt or any of 64. 10 rounds too."""
    held = digits[32:64]
    for context in CONTEXTS:
        found = rates(copier, held, context, 1, 64)
        expected = 0.03 if context == "3/4" else 0
        assert abs(found.double().mean() - expected) < 0.05
        assert abs(found.any(dim=0).double().mean() - expected) < 0.05
    assert rates(copier, held, "1/2", 10, 2).sum() == 0
    assert rates(copier, held, "border", 1, 8).sum() == rates(copier, held, "patch", 1, 8).sum() == 0


def test_the_half_copier_lies_between_the_copier_and_the_generalizer(half_copier, generalizer):
    """Section 5. N(0, .4^2) images, d 16, n 32: a generalizer recovers what it was shown no oftener than its null."""
    rng = torch.Generator().manual_seed(0)
    seen, held = (0.4 * torch.randn(64, 1, 4, 4, generator=rng)).clamp(-1, 1).split(32)

    def rate(denoiser, images):
        return float(rates(denoiser, images, "1/2", 10, 4).double().mean())

    best = rate(IdealDenoiser(seen, torch.ones(32)), seen)
    assert best > 0.5
    assert 0.1 < rate(half_copier(seen), seen) < best
    population = generalizer(torch.zeros(16))
    assert rate(population, seen) <= 0.02 and rate(population, held) <= 0.02
    assert rate(LinearDenoiser(held, torch.ones(32)), seen) <= 0.02


@pytest.mark.parametrize("context", ["1/4", "1/2", "3/4", "border", "patch"])
def test_scores_are_those_of_brute_force(digits, context):
    """Completions of every quality, near copies in families of 1 to 3, masks of each image's own: loops decide."""
    rng = torch.Generator().manual_seed(0)
    images, n = digits[:24].expand(24, 2, 8, 8), 24
    members = torch.cat([images, (images[:12] + 0.2).roll(1, dims=3), images[6:12] - 0.3])
    family = torch.cat([torch.arange(24), torch.arange(12), torch.arange(6, 12)])
    order = torch.randperm(len(members), generator=rng)
    members, family = members[order], family[order]
    target = torch.randperm(n, generator=rng)
    ends = members[[int((family == t).nonzero()[-1]) for t in target]]
    ends = (ends + torch.linspace(0, 1, n).reshape(-1, 1, 1, 1) * torch.randn(ends.shape, generator=rng)).clamp(-1, 1)
    found = prompted_recovery(
        lambda x, s, labels: ends[labels], images, torch.arange(n), members, target, context=context, rounds=2,
        steps=3, family=family, labels=torch.arange(n), batch_size=7,
    )  # fmt: skip
    known = known_pixels(context, torch.arange(n), 8).expand_as(images)
    torch.testing.assert_close(found.completions, torch.where(known, images, ends), rtol=0, atol=1e-5)

    def distance(i, j):
        return float((found.completions[i] - members[j])[~known[i]].double().square().mean().sqrt())

    expected = []
    for i in range(n):
        own = min(distance(i, j) for j in range(len(members)) if family[j] == target[i])
        other = min(distance(i, j) for j in range(len(members)) if family[j] != target[i])
        expected.append(own < other / 3)
    assert found.recovered.tolist() == expected
    assert 0 < sum(expected) < n


@pytest.mark.parametrize("context", ["1/4", "3/4", "border", "patch"])
def test_the_conditional_copier_recovers_everything_and_a_wrong_label_nothing(digits, context):
    unique, index = digits[:9], torch.arange(9)
    denoiser = IdealDenoiser(unique, torch.ones(9), labels=index)
    how = {"context": context, "rounds": 2, "steps": 6}
    assert prompted_recovery(denoiser, unique, index, unique, index, labels=index, **how).recovered.all()
    assert not prompted_recovery(denoiser, unique, index, unique, index, labels=index.roll(1), **how).recovered.any()


def test_a_near_copy_is_no_rival_of_its_original(digits):
    """Measures 1.2: as an image of its own the near copy would hide every recovery."""
    unique, index = digits[:6], torch.arange(6)
    members, family = torch.cat([unique, unique + 0.01]), index.repeat(2)
    denoiser = IdealDenoiser(unique + 0.004, torch.ones(6), labels=index)  # .004 from the original, .006 from its copy
    how = {"context": "1/2", "rounds": 1, "steps": 6, "labels": index}
    assert prompted_recovery(denoiser, unique, index, members, index, family=family, **how).recovered.all()
    assert not prompted_recovery(denoiser, unique, index, members, index, **how).recovered.any()


def test_what_is_equal_where_it_was_asked_is_a_tie(digits):
    """Two images that differ only in the pixels shown: the completion says nothing about which of them is known."""
    unique = digits[:3].clone()
    unique[1, :, 4:] = unique[0, :, 4:]
    index = torch.arange(3)
    denoiser = IdealDenoiser(unique, torch.ones(3), labels=index)
    found = prompted_recovery(denoiser, unique, index, unique, index, context="1/2", rounds=1, steps=6, labels=index)
    assert found.recovered.tolist() == [False, False, True]


def test_a_completion_with_nan_is_not_recovered_and_harms_no_other(digits):
    unique, index = digits[:4], torch.arange(4)
    good = IdealDenoiser(unique, torch.ones(4), labels=index)

    def denoiser(x, sigma, labels):
        return torch.where((labels == 2).reshape(-1, 1, 1, 1), torch.nan, good(x, sigma, labels))

    found = prompted_recovery(denoiser, unique, index, unique, index, context="1/2", rounds=2, steps=4, labels=index)
    assert found.recovered.tolist() == [True, True, False, True]


def test_attempts_differ_and_repeat_to_the_bit(digits, copier):
    images, index = digits[:4], torch.arange(4)

    def completions(attempt, batch_size=256):
        return prompted_recovery(
            LinearDenoiser(digits[:99], torch.ones(99)), images, index, images, index, context="1/4", rounds=2, steps=4,
            attempt=attempt, batch_size=batch_size,
        ).completions  # fmt: skip

    assert torch.equal(completions(0), completions(0))
    assert not torch.isclose(completions(0), completions(1))[:, :, 2:].all(dim=(1, 2, 3)).any()


def test_one_family_is_not_enough(digits):
    images, index = digits[:2], torch.zeros(2).long()
    with pytest.raises(ValueError, match="at least 2"):
        prompted_recovery(
            lambda x, s, labels: x, images, index, images, index, context="1/2", rounds=1, steps=3, family=index
        )


def test_known_pixels_are_rows_a_ring_or_a_square():
    positions = torch.arange(5000)
    assert known_pixels("1/4", positions, 8)[0, 0].sum(dim=1).tolist() == [8, 8] + [0] * 6
    assert known_pixels("3/4", positions[:3], 12).shape == (3, 1, 12, 12)
    ring = known_pixels("border", positions, 5)[7, 0]
    assert ring.sum() == 16 and not ring[1:-1, 1:-1].any()
    patch = known_pixels("patch", positions, 8)[:, 0]
    rows, columns = patch.any(dim=2), patch.any(dim=1)
    assert torch.equal(patch, rows[:, :, None] & columns[:, None]) and (patch.sum(dim=(1, 2)) == 16).all()
    place = rows.int().argmax(dim=1) * 5 + columns.int().argmax(dim=1)
    hits = place.bincount(minlength=25)  # 25 places, equally likely: chi^2 with 24 degrees of freedom
    assert (rows.sum(dim=1) == 4).all() and len(hits) == 25
    assert ((hits - 200) ** 2 / 200).sum() < 52  # p = .001
    assert torch.equal(known_pixels("patch", positions[40:42], 8)[:, 0], patch[40:42])


@pytest.mark.parametrize(
    ("context", "size", "message"),
    [
        ("1/4", 6, "1.5 rows.*use 1/6 or 2/6"),
        ("5/4", 8, "between 0 and 1"),
        ("0", 8, "between 0 and 1"),
        ("middle", 8, "unknown; use"),
        ("1/0", 8, "unknown; use"),
        ("border", 2, "shows all of 2x2"),
        ("patch", 1, "shows none of 1x1"),
    ],
)
def test_a_context_that_shows_no_part_is_refused(context, size, message):
    with pytest.raises(ValueError, match=rf"evaluate\.contexts={context}.*{message}"):
        known_pixels(context, torch.arange(2), size)
