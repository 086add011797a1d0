"""Generate and filter: groups by hand and by brute force, the reference models of measures.md section 5, K14b."""

from itertools import combinations

import pytest
import torch
from scipy.stats import binom

from scaling.diffusion.ideal import IdealDenoiser
from scaling.diffusion.sampler import heun, karras_sigmas, sample
from scaling.memorization.cliques import clique_size, cliques, generate_and_filter, link_distance
from scaling.memorization.criteria import match
from scaling.memorization.extraction import extraction


def line(*at: float) -> torch.Tensor:
    return torch.tensor(at, dtype=torch.float32).reshape(-1, 1)


def copies_of(images: torch.Tensor, index: torch.Tensor, spread: float = 0.01) -> torch.Tensor:
    """What a copier emits: the images of this index, nearly exact."""
    noise = torch.randn(len(index), images.shape[1], generator=torch.Generator().manual_seed(5))
    return images[index] + spread * noise


def test_link_distance_is_a_third_of_the_median_nearest_neighbour():
    """By hand: 0 1 3 10 on a line have nearest others at 1 1 2 7: median 1.5."""
    assert link_distance(line(0, 1, 3, 10)) == pytest.approx(0.5)


def test_groups_are_mutual_and_not_chains():
    """0, .4, .8 hang together, but the ends are .8 apart: with links below .5 the largest group is a pair."""
    assert [group.tolist() for group in cliques(line(0, 0.4, 0.8), 0.5, 2)] == [[0, 1]]
    assert cliques(line(0, 0.4, 0.8), 0.5, 3) == []
    assert [group.tolist() for group in cliques(line(0, 0.4, 0.8), 0.9, 3)] == [[0, 1, 2]]


def test_greedy_takes_the_largest_group_and_then_what_is_left():
    """Samples 5 1 5 1 5 9 and a lone 30: the fives first, then the ones; 9 and 30 have no company."""
    groups = cliques(line(5, 1, 5.1, 1.1, 5.2, 9, 30), 0.5, 2)
    assert [group.tolist() for group in groups] == [[0, 2, 4], [1, 3]]


def test_a_bridge_between_two_groups_does_not_hide_the_larger():
    """0 .1 .2 | .6 | 1 1.1, links below .7: the bridge .6 (index 3) has the most links, and joins the three."""
    groups = cliques(line(0, 0.1, 0.2, 0.6, 1.0, 1.1), 0.7, 2)
    assert [group.tolist() for group in groups] == [[0, 1, 2, 3], [4, 5]]


def of_graph(n: int, edges: list[tuple[int, int]], least: int) -> list[list[int]]:
    """Groups of n points with exactly these links: of a Gram matrix n I + A the squared distances are 2 n - 2 A."""
    gram = n * torch.eye(n, dtype=torch.float64)
    for i, j in edges:
        gram[i, j] = gram[j, i] = 1
    return [group.tolist() for group in cliques(torch.linalg.cholesky(gram), (2 * n - 1) ** 0.5, least)]


def complete(*nodes: int) -> list[tuple[int, int]]:
    return list(combinations(nodes, 2))


def test_a_group_grows_by_the_sample_with_the_most_links_in_it():
    """0 is linked to a lone 1 and to the triangle 2 3 4: the lower index does not lead it astray."""
    assert of_graph(5, [(0, 1), *complete(0, 2, 3, 4)], least=2) == [[0, 2, 3, 4]]


def test_links_to_samples_that_are_taken_do_not_count():
    """5 has four links, but three to the five that are taken first: the triangle 6 7 8 comes before the pair 5 6."""
    edges = [*complete(0, 1, 2, 3, 4), (5, 0), (5, 1), (5, 2), (5, 6), *complete(6, 7, 8)]
    assert of_graph(9, edges, least=2) == [[0, 1, 2, 3, 4], [6, 7, 8]]


def test_a_sample_that_starts_no_group_may_join_one():
    """From 0 the way leads to 1, which has the most links among its neighbours and no group of four; from 5 to 0."""
    edges = [*((0, i) for i in range(1, 8)), (1, 2), (1, 3), (1, 4), *complete(5, 6, 7)]
    assert of_graph(8, edges, least=4) == [[0, 5, 6, 7]]


@pytest.mark.parametrize("seed", range(5))
def test_groups_against_brute_force(seed):
    """Every group is mutually linked and disjoint, and no group of that size is left among the samples not taken."""
    x = torch.rand(40, 2, generator=torch.Generator().manual_seed(seed))
    groups = cliques(x, 0.25, 3)
    taken = [i for group in groups for i in group.tolist()]
    assert len(taken) == len(set(taken)) and groups
    for group in groups:
        assert all((x[i] - x[j]).norm() < 0.25 for i, j in combinations(group.tolist(), 2))
    rest = [i for i in range(40) if i not in taken]
    # Greedy may leave a group only where the member with the most links misled it; here it does not.
    assert not any(
        all((x[i] - x[j]).norm() < 0.25 for i, j in combinations(three, 2)) for three in combinations(rest, 3)
    )


def test_blocks_change_nothing(monkeypatch):
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    whole = cliques(x, 0.4, 3)
    monkeypatch.setattr("scaling.memorization.cliques.STEP", 7)
    parts = cliques(x, 0.4, 3)
    assert len(whole) > 2 and [a.tolist() for a in whole] == [b.tolist() for b in parts]


def test_expected_groups_of_a_uniform_copier():
    """K14b: n 100, B 500, c 10: 100 P(Bin(500, 1/100) >= 10) = 3.110 groups on average; 60 draws, 3 SE."""
    assert 100 * binom.sf(9, 500, 0.01) == pytest.approx(3.110, abs=5e-4)
    rng = torch.Generator().manual_seed(0)
    unique, held = torch.randn(2, 100, 64, generator=rng)
    counts = []
    for _ in range(60):
        index = torch.randint(100, (500,), generator=rng)
        found = generate_and_filter(copies_of(unique, index), unique, None, held, least=10)
        assert found.n_flagged == int((index.bincount(minlength=100) >= 10).sum())  # and in each draw exactly these
        assert found.n_flagged_true == found.n_flagged == found.n_images_found and found.n_spurious == 0
        assert torch.equal(index[found.medoids], found.image)
        counts.append(found.n_flagged)
    counts = torch.tensor(counts, dtype=torch.float64)
    assert abs(float(counts.mean()) - 3.110) < 3 * float(counts.std()) / 60**0.5


def test_the_ideal_copier_is_found_out_image_by_image(digits):
    """Sampler and all: precision 1, and the recall is that of images emitted at least c times."""
    unique, held = digits[:32], digits[32:160]
    noise = torch.randn(256, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = sample(IdealDenoiser(unique, torch.ones(32)), noise, karras_sigmas(18)).flatten(1)
    found = generate_and_filter(samples, unique.flatten(1), None, held.flatten(1))
    c = clique_size(held.flatten(1), link_distance(held.flatten(1)), 256)
    hits = extraction(match(samples, unique.flatten(1)), torch.ones(32, dtype=torch.int64)).hits
    assert found.n_flagged == found.n_flagged_true == found.n_images_found == int((hits >= c).sum()) > 25
    assert found.n_spurious == 0


def test_exact_duplicates_change_nothing(digits):
    """Neighbours are families: ten rows of an image in U are one image, and its groups stay true."""
    unique, held = digits[:16].flatten(1), digits[32:96].flatten(1)
    samples = copies_of(unique, torch.arange(64) % 16)
    one = generate_and_filter(samples, unique, None, held)
    ten = generate_and_filter(samples, unique.repeat(10, 1), torch.arange(16).repeat(10), held)
    assert one.n_flagged_true == 16
    assert (ten.n_flagged, ten.n_flagged_true, ten.n_images_found) == (16, 16, 16)
    assert torch.equal(one.medoids, ten.medoids) and torch.equal(one.image, ten.image)


def test_the_generalizer_is_not_flagged(generalizer):
    """Section 5: 1,000 samples of the exact population, 200 held-out images of it."""
    rng = torch.Generator().manual_seed(0)
    mu = torch.full((16,), 0.5)
    sign = torch.randint(2, (232, 1), generator=rng) * 2 - 1
    images = sign * mu + torch.randn(232, 16, generator=rng)
    noise = 80 * torch.randn(1000, 1, 4, 4, generator=rng)
    samples = heun(generalizer(mu), noise, karras_sigmas(18)).flatten(1)
    found = generate_and_filter(samples, images[:32], None, images[32:])
    assert (found.n_flagged, found.n_flagged_true, found.n_spurious, found.n_images_found) == (0, 0, 0, 0)


def test_the_half_copier_is_flagged_for_its_copies_alone(half_copier):
    """Section 5: half U, half N(0, I), d 16, n 32; the new half of 1,000 samples makes no group."""
    rng = torch.Generator().manual_seed(0)
    unique, held = torch.randn(160, 16, generator=rng).split([32, 128])
    noise = 80 * torch.randn(1000, 1, 4, 4, generator=rng, dtype=torch.float64)
    samples = heun(half_copier(unique.reshape(-1, 1, 4, 4)), noise, karras_sigmas(18)).flatten(1).float()
    found = generate_and_filter(samples, unique, None, held)
    assert found.n_flagged == found.n_flagged_true >= 30 and found.n_spurious == 0


def test_a_recurring_image_of_neither_set_is_spurious_and_one_of_the_holdout_is_not(digits):
    """A model that emits 4 training images, one held-out image and one that is in neither, 8 times each."""
    flat = digits.flatten(1)
    unique, held, other = flat[:4], flat[50:114], flat[200:201]
    emitted = copies_of(torch.cat([unique, held[:1], other]), torch.arange(48) % 6)
    found = generate_and_filter(emitted, unique, None, held)
    assert (found.n_flagged, found.n_flagged_true, found.n_spurious, found.n_images_found) == (6, 4, 1, 4)
    assert (found.medoids[found.spurious] % 6).tolist() == [5] and found.sizes.tolist() == [8] * 6
    assert torch.equal(found.ratio < 1 / 3, found.medoids % 6 < 4)


def test_the_medoid_is_the_middle_of_its_group():
    """On a line: .1 has the smallest sum of distances to 0 .01 .12 .3 (.41), whatever the order."""
    samples = torch.cat([line(0.3, 0, 0.12, 0.1, 0.01), line(50)])
    found = generate_and_filter(samples, line(0.1, 60), None, line(0, 2, 4, 6), least=5)
    assert found.medoids.tolist() == [3] and found.n_flagged_true == 1


def test_the_size_of_a_group_follows_the_number_of_samples_and_the_holdout():
    """2 where no two of as many held-out images are linked; one more than the largest group among them; and with more
    samples the smallest c with C(B, c) p^(c - 1) <= 1, p = 1/C(256, 2): 1024 samples 3 (.167), 2048 4 (.021)."""
    held = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
    link = link_distance(held)
    assert [clique_size(held, link, samples) for samples in (1, 64, 256, 1024, 2048)] == [2, 2, 2, 3, 4]
    triple = torch.cat([held, held[:1] + 1e-3, held[:1] - 1e-3])
    assert clique_size(triple, link, 64) == 4


def test_no_group_of_real_images_is_flagged_by_its_own_size(digits):
    """Digits as a perfect generalizer emits them: 256 held-out, 1,024 others as samples, five orders of the source."""
    for seed in range(5):
        order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
        unique, held, samples = digits[order].flatten(1).split([64, 256, 1477])[:3]
        assert generate_and_filter(samples[:1024], unique, None, held).n_flagged == 0


def test_what_cannot_be_judged_is_refused():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"2 held-out image\(s\).*raise data\.holdout"):
        generate_and_filter(x, x, None, x[:2])
    with pytest.raises(ValueError, match="exact copy"):
        link_distance(x[:1].expand(4, 3))
    with pytest.raises(ValueError, match="n_nonfinite"):
        generate_and_filter(x / 0, x, None, x)
    with pytest.raises(ValueError, match="least=1"):
        cliques(x, 1.0, 1)
