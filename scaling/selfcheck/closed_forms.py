"""Instruments whose answer is a formula: ideal denoiser, sampler, losses, criteria, quality, density, leverage.

K numbers are rows of measures.md, section 6.
"""

from collections.abc import Iterator
from itertools import pairwise, product
from math import inf, log, log2

import torch
from scipy.stats import chisquare
from sklearn.datasets import load_digits
from torch import Tensor

from scaling.data.noise import normals, uniforms
from scaling.data.streams import CONSTANT
from scaling.diffusion.ideal import IdealDenoiser, LinearDenoiser, collapse_sigma, covariance_eigenvalues
from scaling.diffusion.sampler import heun, karras_sigmas, sample
from scaling.fields import SigmaConfig
from scaling.memorization.criteria import MEMORIZED, gap_ratio, match
from scaling.memorization.density import density_sigmas, level_errors, log_density
from scaling.memorization.extraction import extraction
from scaling.memorization.ideal_distance import ideal_distance
from scaling.memorization.leverage import left_out_residual, leverage
from scaling.memorization.losses import evaluation_sigmas, image_losses, mean_and_se
from scaling.quality.distances import frechet, frechet_of_moments, kid
from scaling.selfcheck.table import Check, Given, Row, answered, near, number, shown, within


def _normals(stream: str, device: torch.device, *shape: int, seed: int = CONSTANT) -> Tensor:
    count, *rest = shape
    made = normals(seed, stream, torch.arange(count, device=device), torch.Size(rest).numel())
    return made.reshape(shape)


def _digits(device: torch.device) -> Tensor:
    """[1797 1 8 8] in [-1, 1], in the order of scikit-learn."""
    return torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32, device=device).reshape(-1, 1, 8, 8)


def _points(device: torch.device, *rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64, device=device).reshape(len(rows), 1, 1, -1)


def _gaussian(s: float):
    """D of N(0, s^2 I)."""
    return lambda x, sigma, labels=None: x * (s**2 / (s**2 + sigma.to(x).reshape(-1, 1, 1, 1) ** 2))


def _ideal_on_a_line(device: torch.device) -> Given:
    found = []
    for sigma, copies in product((1.0, 0.5), ((1, 1), (3, 1))):
        ideal = IdealDenoiser(_points(device, (1,), (-1,)), torch.tensor(copies, device=device))
        found.append(ideal(_points(device, (0.5,)), torch.tensor([sigma], device=device)).item())
    return near(found, [0.462117, 0.781536, 0.964028, 0.987864], 1e-6)


def _ideal_in_the_plane(device: torch.device) -> Given:
    ideal = IdealDenoiser(_points(device, (0, 0), (4, 0), (0, 3)), torch.tensor([1, 2, 1], device=device))
    sigma = torch.tensor([1.0, 2.0, inf], device=device)
    found = ideal(_points(device, (1, 1)).expand(3, 1, 1, 2), sigma).flatten().tolist()
    return near(found, [0.116312, 0.531363, 1.214601, 0.850940, 2, 0.75], 1e-6)


def _loss_of_the_ideal(device: torch.device) -> Given:
    """Unweighted: lambda at sigma .1, sigma_data .1 is 200."""
    digits, sigma = _digits(device), torch.tensor([0.1], dtype=torch.float64)
    unique, others, position = digits[:64], digits[64:128], torch.arange(64)
    ideal = IdealDenoiser(unique, torch.ones(64, device=device))
    seen, held = (
        float(image_losses(ideal, part, None, position, sigma, sigma_data=0.1).mean()) / 200
        for part in (unique, others)
    )
    return Given(shown((seen, held)), abs(seen) < 1e-6 and abs(held - 0.131) <= 0.02 * 0.131)


def _collapse(device: torch.device) -> Given:
    levels = [collapse_sigma(torch.ones(d, device=device), n) for d, n in ((64, 256), (1024, 1024))]
    eigenvalues = covariance_eigenvalues(_digits(device))
    of_digits = [collapse_sigma(eigenvalues, n) for n in (64, 256, 1024)]
    ok = near(levels, [2.299, 8.565], 1e-3).ok and near(of_digits, [1.31, 1.09, 0.94], 0.01).ok
    return Given(shown(levels + of_digits), ok)


def _own_weight_at_collapse(device: torch.device) -> Given:
    """The mean weight of an image in the posterior of its own noisy version, d 64, n 256."""
    sigma_c, own = collapse_sigma(torch.ones(64, device=device), 256), []
    for times in (1, 2):
        sigma, weights = times * sigma_c, []
        for study in range(16):
            images = _normals("draw", device, 256, 64, seed=study)
            noisy = images + sigma * _normals("noise", device, 256, 64, seed=study)
            weights.append((-torch.cdist(noisy, images).square() / (2 * sigma**2)).softmax(dim=1).diagonal())
        own.append(float(torch.cat(weights).mean()))
    return near(own, [0.58, 0.05], 0.03)


def _distance_to_the_ideal(device: torch.device) -> Given:
    digits = _digits(device)
    unique, others, copies = digits[:32], digits[32:64], torch.ones(32, device=device)
    ideal, linear = IdealDenoiser(unique, copies), LinearDenoiser(unique, copies)
    sigmas = (-1.2 + 1.2 * torch.arange(-1.5, 1.6, 0.5, dtype=torch.float64)).exp()
    found = [
        ideal_distance(
            denoiser, ideal, linear, unique, copies, torch.arange(32), sigmas, sigma_data=0.752
        ).value
        for denoiser in (ideal, linear, IdealDenoiser(others, copies))
    ]  # fmt: skip
    return Given(shown(found), found[0] < 1e-6 and abs(found[1] - 1) < 1e-6 and abs(found[2] / 6.5 - 1) <= 0.03)


def _sampler_order(device: torch.device) -> Given:
    """From .5 to .05 on Gaussian data (s .3), where the flow is known; no last Euler step, which is of first order."""
    x, s, (start, end) = _normals("sample", device, 64, 1, 4, 4).double(), 0.3, (0.5, 0.05)
    truth, errors = x * ((s**2 + end**2) / (s**2 + start**2)) ** 0.5, []
    for steps in (8, 16, 32):
        levels = torch.linspace(start, end, steps + 1, dtype=torch.float64)
        made = heun(_gaussian(s), x, torch.cat([levels, levels[-1:]]))  # the last step, Euler's, has length 0
        errors.append(float((made - truth).abs().max()))
    orders = [log2(a / b) for a, b in pairwise(errors)]
    return Given(shown(orders), all(abs(order - 2) <= 0.15 for order in orders))


def _hits_follow_copies(device: torch.device) -> Given:
    digits, batch = _digits(device), 1024
    unique, copies = digits[:32], torch.tensor([1, 2, 4, 8], device=device).repeat(8)
    noise = _normals("sample", device, batch, 1, 8, 8)
    samples = sample(IdealDenoiser(unique, copies), noise, karras_sigmas(18), batch_size=batch).flatten(1)
    got = extraction(match(samples, unique.flatten(1)), copies)
    null = int((gap_ratio(samples, digits[32:64].flatten(1)).ratio < MEMORIZED).sum())
    hits = [stratum.n_hits for stratum in got.strata]
    ok = got.n_memorized == batch and null == 0 and got.n_extracted == 32
    p = float(chisquare(hits, [sum(hits) * r / 15 for r in (1, 2, 4, 8)]).pvalue)
    return Given(f"{got.n_memorized}, {null}, {got.n_extracted}, hits {shown(hits)} (p {p:.2f})", ok and p > 0.01)


def _loss_of_a_gaussian(device: torch.device) -> Given:
    """At every level of the default law; sigma_data = s, so that the weighted loss is 1."""
    s, sigmas = 0.7, evaluation_sigmas(SigmaConfig(), 8)
    images = s * _normals("draw", device, 4000, 1, 8, 8)
    found = image_losses(_gaussian(s), images, None, torch.arange(4000), sigmas, sigma_data=s).mean(dim=0)
    return Given(
        f"{number(float(found.min()))} to {number(float(found.max()))}", bool(((found - 1).abs() < 0.01).all())
    )


def _error_over_images(device: torch.device) -> Given:
    """1,000 studies of 100 images of sd 1 with 8 draws of sd 2."""
    image, draw = _normals("draw", device, 1000, 100, 1), _normals("noise", device, 1000, 100, 8)
    studies = (image + 2 * draw).mean(dim=2)
    return near(sum(mean_and_se(study).se for study in studies) / 1000, 0.1220, 0.02 * 0.1220)


def _gap_null(device: torch.device) -> Given:
    """Each of 1,000 points of the unit torus is a family of its images under whole shifts."""
    found = []
    for dimension in (1, 2, 3):
        points, samples = (
            uniforms(CONSTANT, name, torch.arange(count, device=device), dimension)
            for name, count in (("draw", 1000), ("sample", 4000))
        )
        shifts = torch.tensor(list(product((-1, 0, 1), repeat=dimension)), dtype=torch.float64, device=device)
        members = (points[:, None] + shifts).flatten(0, 1)
        family = torch.arange(1000, device=device).repeat_interleave(len(shifts))
        close = (members - 0.5).abs().amax(dim=1) < 0.9  # the others are never among the two nearest
        ratio = gap_ratio(samples, members[close], family[close]).ratio
        found.append(float((ratio < MEMORIZED).double().mean()))
    return near(found, [1 / 3, 1 / 9, 1 / 27], 0.015)


def _gaussian_null(device: torch.device) -> Given:
    found = match(_normals("sample", device, 2000, 256), _normals("draw", device, 500, 256))
    passed = int((found.ratio < MEMORIZED).sum() + (found.calibrated < 1).sum())
    medians = [float(found.ratio.median()), float(found.calibrated.median())]
    return Given(f"{passed}; {shown(medians)}", passed == 0 and near(medians, [0.990, 1.90], 0.02).ok)


def _kid_by_hand(device: torch.device) -> Given:
    low, high = (torch.tensor(pair, device=device).reshape(2, 1) for pair in ((0.0, 1.0), (2.0, 3.0)))
    return near([kid(low, high).value, kid(low, low).value], [297.5, -3.5], 1e-9)


def _kid_of_gaussians(device: torch.device) -> Given:
    """200 studies of 50 a side, q 16; 3 SE of the simulation."""
    x, y = (_normals(name, device, 200, 50, 16) for name in ("draw", "noise"))
    means, ok = [], True
    for v, expected in ((1, 0.0), (2, 3 / 16)):
        values = torch.tensor([kid(a, v**0.5 * b).value for a, b in zip(x, y, strict=True)])
        means.append(float(values.mean()))
        ok &= abs(means[-1] - expected) < 3 * float(values.std()) / len(values) ** 0.5
    return Given(shown(means), ok)


def _frechet_by_hand(device: torch.device) -> Given:
    def matrix(*rows: tuple[float, ...]) -> Tensor:
        return torch.tensor(rows, dtype=torch.float64, device=device)

    zero, one, shift = matrix(0, 0), matrix((1, 0), (0, 4)), matrix(3, 4)
    found = [
        frechet_of_moments(zero[:1], matrix((1,)), zero[:1] + 1, matrix((4,))),
        frechet_of_moments(zero, one, shift, matrix((9, 0), (0, 1))),
        frechet_of_moments(zero, matrix((2, 1), (1, 2)), zero, one),
        frechet(matrix((0,), (2,)), matrix((1,), (5,))),  # variances 2 and 8 (ddof 1): 4 + (sqrt 8 - sqrt 2)^2
    ]
    return near(found, [2, 30, 0.771220, 6], 1e-6)


def _gaussian_error(s: float, x2: float, d: int, sigmas: Tensor) -> Tensor:
    """E ||D(x + sigma eps) - x||^2 of the denoiser of N(0, s^2 I), |x|^2 = x2: bias and noise."""
    s2, v = sigmas**2, s**2 + sigmas**2
    return (s2 / v) ** 2 * x2 + (s**2 / v) ** 2 * s2 * d


def _bits_of_a_gaussian(device: torch.device) -> Given:
    """K24 / ln 2: one pixel, the exact expected errors at sigma .002 to 80."""
    sigmas, found = density_sigmas(0.002, 6000).to(device), []
    for x, s in product((0.0, 1.0), (0.5, 1.0, 2.0)):
        errors = _gaussian_error(s, x**2, 1, sigmas).reshape(1, -1, 1)
        bound = log_density(errors, _points(device, (x,)), sigmas, mean=0, variance=s**2)
        found.append(bound.value.item() / log(2))
    nats = (-0.225807, -0.918939, -1.612086, -2.225775, -1.418939, -1.737086)
    return near(found, [value / log(2) for value in nats], 5e-6 / log(2))


def _errors_of_the_bound(device: torch.device) -> Given:
    """The Monte Carlo errors over their expectation, 2,000 times the image 1/2 of 64 pixels at three levels."""
    s, sigmas = 0.7, torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64, device=device)
    images = torch.full((2000, 1, 8, 8), 0.5, device=device)
    found = level_errors(_gaussian(s), images, None, torch.arange(2000), sigmas, draws=1).mean(dim=(0, 2))
    return near((found / _gaussian_error(s, 16, 64, sigmas)).tolist(), [1.0, 1.0, 1.0], 0.01)


def _leave_one_out(device: torch.device) -> Given:
    """Ridge regression (lam .3) of 30 images with copies 1 2 4 on 5 features, refitted without each: e_i/(1 - h_i)."""
    phi, y = _normals("projection", device, 30, 5).double(), _normals("noise", device, 30, 2).double()
    copies, lam = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64, device=device).repeat(10), 0.3

    def residual(weight: Tensor) -> Tensor:
        normal = (weight * phi.T) @ phi + lam * torch.eye(5).to(phi)
        return y - phi @ torch.linalg.solve(normal, (weight * phi.T) @ y)

    predicted = left_out_residual(residual(copies), leverage(phi, copies, lam))
    others = ~torch.eye(30, dtype=torch.bool, device=device)
    refitted = torch.stack([residual(copies * kept)[i] for i, kept in enumerate(others)])
    return within(float((predicted - refitted).abs().max()), 0, 1e-9)


ROWS = (
    Row(
        "ideal denoiser, two images (K9)",
        "tanh(x/sigma^2 + ln(r)/2): .462117 .781536 .964028 .987864",
        _ideal_on_a_line,
    ),
    Row("ideal denoiser, three images (K9b)", ".116312 .531363; 1.2146 .85094; 2 .75 (+- 1e-6)", _ideal_in_the_plane),
    Row("loss of the ideal denoiser (K11)", "seen 0; held-out .131, the squared nearest distance", _loss_of_the_ideal),
    Row("collapse level (K11c)", "2.299 8.565; digits 1.31 1.09 .94", _collapse),
    Row("own weight at sigma_c, 2 sigma_c (K11c)", ".58 .05 +- .03", _own_weight_at_collapse),
    Row("ideal_distance (K11b)", "D* 0; linear denoiser 1; D* of other images 6.5 +- 3 %", _distance_to_the_ideal),
    Row("sampler", "second order: the error falls as steps^-2 (+- .15)", _sampler_order),
    Row("copier's samples (K12)", "1024 memorized, 0 of others, 32 extracted, hits 1 2 4 8 / 15", _hits_follow_copies),
    Row("loss of a Gaussian's own denoiser (K3)", "1 +- 1 % at every level", _loss_of_a_gaussian),
    Row("standard error over images (K2)", ".1220 +- 2 % (over draws it would be .0789)", _error_over_images),
    Row("gap ratio, uniform, dimension 1 2 3 (K4)", "3^-dimension: .333 .111 .037 +- .015", _gap_null),
    Row("criteria, Gaussian (K5)", "0 pass; medians: ratio .990, calibrated 1.90 +- .02", _gaussian_null),
    Row("KID by hand (K32)", "297.5 -3.5 (unbiased: negative against itself)", _kid_by_hand),
    Row("KID of Gaussians (K33)", "0 at the null, 3/16 at twice the variance; 3 SE", _kid_of_gaussians),
    Row("Frechet distance (K34)", "2 30 .771220 6 +- 1e-6", _frechet_by_hand),
    Row(
        "log-density of a Gaussian, bits (K24)",
        "-.32577 -1.32575 -2.32575; -3.21111 -2.0471 -2.50609",
        _bits_of_a_gaussian,
    ),
    Row("errors of the log-density bound", "their expectation +- 1 %: 1 1 1", _errors_of_the_bound),
    Row("leave one out by leverage (K29)", "the residuals of 30 refits, to 1e-9", _leave_one_out),
)


def checks(device: torch.device) -> Iterator[Check]:
    """Each check as it is made."""
    return answered("closed_forms", ROWS, device)
