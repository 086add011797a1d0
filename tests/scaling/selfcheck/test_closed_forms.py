"""Every check is ok on the code as it is, and a miss on a mutant that somebody could have written."""

from itertools import pairwise

import pytest
import torch
from einops import reduce

from scaling.data.noise import normals
from scaling.diffusion.ideal import IdealDenoiser, collapse_sigma
from scaling.memorization import criteria, density, ideal_distance, losses
from scaling.memorization.leverage import leverage
from scaling.memorization.losses import Estimate
from scaling.quality.distances import Kid, kid
from scaling.selfcheck import closed_forms as module
from scaling.selfcheck.closed_forms import ROWS

CPU = torch.device("cpu")


class UnweightedIdeal(IdealDenoiser):
    """Copies forgotten: every unique image has the same prior."""

    def __init__(self, unique, copies, labels=None):
        super().__init__(unique, torch.ones_like(copies), labels)


def unweighted(denoised, clean, sigma, sigma_data):
    return reduce((denoised - clean).square(), "b c h w -> b", "mean")


def over_draws(means, weight=None):
    """The standard deviation over all draws (sd sqrt 5) by the number of draws, as if they were images."""
    return Estimate(float(means.mean()), (5 / (8 * len(means))) ** 0.5)


def euler(denoiser, x, sigmas, labels=None):
    for now, after in pairwise(sigmas.unbind()):
        x = x + (after - now) * (x - denoiser(x, now.expand(len(x)), labels)) / now
    return x


def biased_kid(x, y):
    def kernel(a, b):
        return ((a.double() @ b.double().T / a.shape[1] + 1) ** 3).mean()

    return Kid(float(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)), kid(x, y).se)


def frechet_without_the_cross_term(m1, s1, m2, s2):
    return float((m1 - m2).square().sum() + s1.trace() + s2.trace())


def squared_ratio(near):
    return (near.distance[:, 0] / near.distance[:, 1]).square()


MUTANTS = {
    "ideal denoiser, two images (K9)": (module, "IdealDenoiser", UnweightedIdeal),
    "ideal denoiser, three images (K9b)": (module, "IdealDenoiser", UnweightedIdeal),
    "loss of the ideal denoiser (K11)": (losses, "weighted_loss", unweighted),
    "collapse level (K11c)": (module, "collapse_sigma", lambda values, n: collapse_sigma(values, n**0.5)),
    "own weight at sigma_c, 2 sigma_c (K11c)": (
        module,
        "collapse_sigma",
        lambda values, n: collapse_sigma(values, n**0.5),
    ),
    "ideal_distance (K11b)": (ideal_distance, "weighted_loss", unweighted),
    "sampler": (module, "heun", euler),
    "copier's samples (K12)": (module, "IdealDenoiser", UnweightedIdeal),
    "loss of a Gaussian's own denoiser (K3)": (losses, "weighted_loss", unweighted),
    "standard error over images (K2)": (module, "mean_and_se", over_draws),
    "gap ratio, uniform, dimension 1 2 3 (K4)": (criteria, "_ratio", squared_ratio),
    "criteria, Gaussian (K5)": (criteria, "ALPHA", 1.0),
    "KID by hand (K32)": (module, "kid", biased_kid),
    "KID of Gaussians (K33)": (module, "kid", biased_kid),
    "Frechet distance (K34)": (module, "frechet_of_moments", frechet_without_the_cross_term),
    "log-density of a Gaussian, bits (K24)": (
        density,
        "_prior",
        lambda images, *rest: torch.zeros(len(images)).double(),
    ),
    "errors of the log-density bound": (density, "normals", lambda *keys: 1.1 * normals(*keys)),
    "leave one out by leverage (K29)": (
        module,
        "leverage",
        lambda phi, copies, lam: leverage(phi, torch.ones_like(copies), lam),
    ),
}  # the collapse level without the half of its equation is that of sqrt(n) images


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.instrument)
def test_each_check_is_ok_and_catches_its_mutant(row, monkeypatch):
    assert row.check("", CPU).ok
    monkeypatch.setattr(*MUTANTS[row.instrument])
    caught = row.check("", CPU)
    assert not caught.ok and "Error" not in str(caught.gave)
