import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scaling.memorization import neighbors
from scaling.memorization.neighbors import nearest


def brute_force(samples: Tensor, members: Tensor, k: int, family: Tensor) -> tuple[Tensor, Tensor]:
    """One sample, one family at a time, from differences in float64; ties to the lower family."""
    names = family.unique().tolist()
    distance = torch.empty(len(samples), len(names), dtype=torch.float64)
    for i, sample in enumerate(samples.double()):
        to_members = (sample - members.double()).square().sum(dim=1).sqrt()
        distance[i] = torch.stack([to_members[family == name].min() for name in names])
    distance = distance.to(samples.dtype)
    order = distance.sort(dim=1, stable=True).indices[:, :k]
    return distance.gather(1, order), torch.tensor(names)[order]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(2, 90), st.integers(1, 40), st.data())
def test_equals_brute_force(seed: int, n_samples: int, n_members: int, pixels: int, data: st.DataObject):
    """Random sizes and families, with samples equal to images, images equal to each other, grey steps (ties) and an
    offset that float32 products cannot resolve."""
    rng = torch.Generator().manual_seed(seed)
    levels = data.draw(st.sampled_from([0, 2, 16]))
    members, samples = (torch.rand(n, pixels, generator=rng) * 2 - 1 for n in (n_members, n_samples))
    if levels:
        members, samples = (members * levels).round() / levels, (samples * levels).round() / levels
    copied = torch.randint(n_members, (n_samples // 2,), generator=rng)
    samples[: len(copied)] = members[copied]
    offset = data.draw(st.sampled_from([0.0, 1000.0]))
    n_families = data.draw(st.integers(1, n_members))
    family = torch.arange(n_members) % n_families
    k = data.draw(st.integers(1, min(n_families, 12)))
    found = nearest(samples + offset, members + offset, k, None if n_families == n_members else family)
    distance, families = brute_force(samples + offset, members + offset, k, family)
    torch.testing.assert_close(found.distance, distance, rtol=2e-7, atol=0)
    if levels:  # exact in float32, ties included
        assert torch.equal(found.family, families)
    else:  # elsewhere two families can only change places where their distances agree
        torch.testing.assert_close(brute_distance(samples + offset, members + offset, found.family, family), distance)
    assert torch.equal(found.distance[: len(copied), 0], torch.zeros(len(copied)))


def brute_distance(samples: Tensor, members: Tensor, families: Tensor, family: Tensor) -> Tensor:
    """Distances [S k] of the samples to the families [S k] named."""
    return (
        torch.stack(
            [
                torch.stack([(sample - members[family == name]).double().norm(dim=1).min() for name in row.tolist()])
                for sample, row in zip(samples, families, strict=True)
            ]
        ).to(samples.dtype)
        if len(samples)
        else samples.new_empty(families.shape)
    )


def test_a_distance_of_0_0004_is_found_exactly():
    """|a|^2 - 2ab + |b|^2 in float32 makes it 0 or 0.001; the images here are long and 30 of them crowd together."""
    rng = torch.Generator().manual_seed(0)
    centre = torch.rand(3072, generator=rng) * 2 - 1
    crowd = centre + 0.002 * torch.randn(30, 3072, generator=rng)
    members = torch.cat([torch.rand(500, 3072, generator=rng) * 2 - 1, crowd])
    sample = members[510].clone()
    sample[7] = members[510][7] + 0.0004
    expected = (sample[7].double() - members[510][7].double()).abs().float()
    expanded = sample.square().sum() - 2 * members @ sample + members.square().sum(dim=1)
    assert abs(expanded[510].clamp(min=0).sqrt() - 0.0004) > 0.0001  # the trap is real on this machine
    found = nearest(sample[None], members, 2)
    assert found.family[0, 0] == 510
    assert found.distance[0, 0] == expected
    torch.testing.assert_close(found.distance[0, 1], (sample - crowd).double().norm(dim=1).sort().values[1].float())


def test_a_crowd_closer_than_products_can_tell_apart_is_searched_again():
    """12 images within .008 of each other: float32 products of such long images err by more than that, so that 8
    candidates from products miss the nearest image of some samples. Only the error bound knows."""
    rng = torch.Generator().manual_seed(0)
    centre = torch.rand(3072, generator=rng) * 2 - 1
    crowd = centre + 1e-4 * torch.randn(12, 3072, generator=rng)
    members = torch.cat([crowd, torch.rand(300, 3072, generator=rng) * 2 - 1])
    samples = centre + 1e-4 * torch.randn(200, 3072, generator=rng)
    distance, families = brute_force(samples, members, 2, torch.arange(312))
    trusted = (members.square().sum(dim=1) - 2 * samples @ members.T).topk(8, largest=False).indices
    assert not (trusted == families[:, :1]).any(dim=1).all()
    found = nearest(samples, members, 2)
    assert torch.equal(found.family, families)
    torch.testing.assert_close(found.distance, distance, rtol=2e-7, atol=0)


def test_products_in_lower_precision_change_nothing():
    """Somebody lets float32 products run in bfloat16 (medium): the bound knows, and more candidates are looked at."""
    rng = torch.Generator().manual_seed(1)
    members, samples = torch.rand(300, 64, generator=rng), torch.rand(50, 64, generator=rng)
    expected = nearest(samples, members, 3)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        found = nearest(samples, members, 3)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found.family, expected.family) and torch.equal(found.distance, expected.distance)


class LargestTensor(TorchDispatchMode):
    """Records the number of entries of the largest tensor made."""

    def __init__(self):
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, Tensor):
                self.entries = max(self.entries, tensor.numel())
        return made


@pytest.mark.parametrize("shape", [(1500, 20_000, 8), (40, 6_000, 3072)])
def test_no_block_is_larger_than_declared(shape: tuple[int, int, int]):
    """1,500 x 20,000 distances would be 30 M numbers, 40 x 8 differences of 3,072 pixels 1 M: the blocks bound both."""
    n_samples, n_members, pixels = shape
    rng = torch.Generator().manual_seed(2)
    members, samples = torch.rand(n_members, pixels, generator=rng), torch.rand(n_samples, pixels, generator=rng)
    with LargestTensor() as largest:
        nearest(samples, members, 2)
    assert largest.entries <= max(neighbors.BLOCK, members.numel())  # views of the images count as made


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch):
    rng = torch.Generator().manual_seed(3)
    members, samples = torch.rand(700, 16, generator=rng), torch.rand(100, 16, generator=rng)
    expected = nearest(samples, members, 5)
    monkeypatch.setattr(neighbors, "BLOCK", 2**13)
    monkeypatch.setattr(neighbors, "PAIRS", 2**8)
    found = nearest(samples, members, 5)
    assert torch.equal(found.family, expected.family) and torch.equal(found.distance, expected.distance)


def test_two_images_are_enough_and_one_is_refused_with_the_remedy():
    members = torch.tensor([[0.0], [1.0]])
    found = nearest(torch.tensor([[0.75]]), members, 2)
    assert found.family.tolist() == [[1, 0]] and found.distance.tolist() == [[0.25, 0.75]]
    with pytest.raises(ValueError, match=r"2 neighbours asked among 1 unique image.*raise data\.n_unique"):
        nearest(torch.tensor([[0.75]]), members[:1], 2)
    with pytest.raises(ValueError, match="among 1 unique image"):
        nearest(torch.tensor([[0.75]]), members, 2, torch.tensor([0, 0]))


def test_nan_is_refused():
    members, samples = torch.rand(4, 3), torch.rand(2, 3)
    broken = samples.clone()
    broken[1, 2] = torch.nan
    with pytest.raises(ValueError, match="1 of 2 samples are not finite"):
        nearest(broken, members, 2)
    with pytest.raises(ValueError, match="images searched hold NaN"):
        nearest(samples, torch.cat([members, broken]), 2)


@pytest.mark.parametrize(
    ("samples", "members", "said"),
    [
        (torch.zeros(2, 1, 8, 8), torch.zeros(4, 64), "flatten"),
        (torch.zeros(2, 64, dtype=torch.uint8), torch.zeros(4, 64, dtype=torch.uint8), "floats"),
        (torch.zeros(2, 64, dtype=torch.float64), torch.zeros(4, 64), "one type"),
    ],
)
def test_wrong_arrays_are_named(samples: Tensor, members: Tensor, said: str):
    with pytest.raises(ValueError, match=said):
        nearest(samples, members, 2)
