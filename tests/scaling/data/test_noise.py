import numpy as np
import torch
from scipy import stats

from scaling.data.noise import integers, normals, philox, uniforms


def words(*values):
    return tuple(torch.tensor([v]) for v in values)


def test_philox_gives_the_published_vectors():
    """Known-answer vectors of Random123 (kat_vectors, philox4x32 10 rounds)."""
    assert [int(w) for w in philox(words(0, 0, 0, 0), (0, 0))] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert [int(w) for w in philox(words(ones, ones, ones, ones), (ones, ones))] == [
        0x408F276D,
        0x41C83B0E,
        0xA20BC7C6,
        0x6D5451FD,
    ]
    pi_digits = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert [int(w) for w in philox(words(*pi_digits), (0xA4093822, 0x299F31D0))] == [
        0xD16CFE09,
        0x94FDCCEB,
        0x5001E420,
        0x24126EA1,
    ]


def test_an_index_keeps_its_numbers_in_any_batch():
    index = torch.arange(1000) * 7_000_000_000  # beyond 32 bits
    whole = normals(3, "noise", index, 10)
    assert torch.equal(whole[17:19], normals(3, "noise", index[17:19], 10))
    assert not torch.equal(whole, normals(3, "frozen", index, 10))
    assert not torch.equal(whole, normals(4, "noise", index, 10))
    assert torch.equal(whole[:, :6], normals(3, "noise", index, 6))


def test_normals_are_standard_and_independent():
    """Kolmogorov-Smirnov and correlations at 2e5 numbers; a Box-Muller pair must not be correlated."""
    drawn = normals(0, "noise", torch.arange(2000), 100).double().numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 2])[0, 1]) < 0.1
    assert abs(np.corrcoef(drawn[:, :50].ravel(), drawn[:, 50:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.01


def test_uniforms_and_integers_are_uniform():
    drawn = uniforms(0, "sigma", torch.arange(2000), 50)
    assert drawn.min() > 0 and drawn.max() < 1
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > 1e-3
    keys = integers(0, "order", torch.arange(2000), 50)
    assert stats.kstest((keys.double() / 2**62).flatten().numpy(), "uniform").pvalue > 1e-3
    assert keys.unique().numel() == 100_000
