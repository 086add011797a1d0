"""Every row is ok on the code as it is, and a miss on a mutant that somebody could have written."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from math import pi

import pytest
import torch

from scaling.data.noise import normals
from scaling.diffusion.ideal import IdealDenoiser
from scaling.memorization import bits, cliques, cyclic, density, extraction, keys, membership, prompted
from scaling.memorization import trajectory as trajectories
from scaling.memorization.basin import basin_recovery
from scaling.memorization.criteria import Match, match
from scaling.memorization.keys import key_errors
from scaling.memorization.leverage import leverage
from scaling.memorization.losses import mean_and_se
from scaling.memorization.prompted import prompted_recovery
from scaling.quality.coverage import coverage
from scaling.quality.distances import Kid, kid
from scaling.selfcheck import instruments as module
from scaling.selfcheck import known_study
from scaling.selfcheck.instruments import ROWS
from scaling.selfcheck.known_study import MEAN, SIGMA_MIN, SPREAD, Studies, log_of_copier, log_of_population
from scaling.selfcheck.reference_models import Generalizer, HalfCopier
from scaling.training import bench
from scaling.training.bench import Bench
from scaling.training.instruments import chains, losses, samples

CPU = torch.device("cpu")
OF, GROUP, EXCESS, GRADIENTS, WEIGHTS = (
    Bench.of,
    bench._training_group,
    bits._excess_bits,
    module._gradients,
    density.trapezoid_weights,
)


def unweighted(unique, copies, labels=None):
    """Copies forgotten: every unique image has the same prior."""
    return IdealDenoiser(unique, torch.ones_like(copies), labels)


def of_another_set(unique, copies, labels=None):
    return IdealDenoiser(-unique, copies, labels)


def rows_for_images(data, device, conditioned):
    """Neighbours are searched among the rows of the training set, copies included."""
    group = GROUP(data, device, conditioned)
    row = torch.arange(len(group.images)).repeat_interleave(group.copies_tensor())
    return replace(group, members=group.members[row], family=row)


def among_rows(drawn, members, family=None):
    found = match(drawn, members)
    return found if family is None else Match(found.ratio, family[found.image], found.calibrated)


def benches(change: Callable[[Bench], dict]) -> tuple:
    return known_study, "Bench", type("Changed", (), {"of": lambda *given: replace(OF(*given), **change(OF(*given)))})


def narrower(made: Bench) -> dict:
    """Held-out images that were prepared in another way than those in training."""
    return {name: _narrow(getattr(made, name)) for name in ("null", "holdout")}


def _narrow(group):
    return replace(group, images=0.3 * group.images, members=0.3 * group.members)


def biased_kid(x, y):
    def kernel(a, b):
        return ((a.double() @ b.double().T / a.shape[1] + 1) ** 3).mean()

    return Kid(float(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)), kid(x, y).se)


def from_afar(*given, sigma_b, **rest):
    return basin_recovery(*given, sigma_b=4 * sigma_b, **rest)


def keys_of_others(by, images, planted, *rest, **more):
    return key_errors(by, images, planted.flip(0), *rest, **more)


def silent(seed, stream, index, n):
    return torch.zeros(len(index), n)


def unpaired():
    """Other noise at every call, so that two models are not compared on the same."""
    calls = count()
    return lambda seed, stream, index, n: normals(next(calls), stream, index, n)


def over_draws(values, weight=None):
    mean, se = mean_and_se(values, weight)
    return mean, se / 4  # 16 draws taken for 16 times as many images


def clipping_kept(seen, held, n, weight):
    return EXCESS(seen, torch.zeros_like(held), n, weight)


def in_one_round(*given, rounds, **rest):
    return prompted_recovery(*given, rounds=1, **rest)


def louder_for_seen(study, of):
    return GRADIENTS(study, of) * (1.5 if of == "train" else 1)


RAW_ROWS = [(bench, "_training_group", rows_for_images), (samples, "match", among_rows)]
NULL_AMONG_U = [benches(lambda made: {"null": replace(made.null, members=made.train.members)})]
NARROWER = [benches(narrower)]
HIGH_BAND = [(membership, "BAND", (1.24, 80.0))]
FROM_AFAR = [(chains, "basin_recovery", from_afar)]
NO_COPIES = [(module, "leverage", lambda phi, copies, lam: leverage(phi, torch.ones_like(copies), lam))]
MUTANTS = {
    "copier: n_memorized, n_calibrated; null": RAW_ROWS,
    "copier: E_r at 1 2 4 8 copies": [(known_study, "Copier", unweighted)],
    "copier: held-out less seen loss": [(known_study, "Copier", of_another_set)],
    "copier: membership_auc, tpr_at_1pct_fpr": HIGH_BAND,
    "copier: ideal_distance; its null": [(bench, "IdealDenoiser", unweighted)],
    "copier: trajectory_distance, last level": [(trajectories, "normals", lambda *keyed: 1.1 * normals(*keyed))],
    "copier: basin at sigma_c, D*; below, all; null": FROM_AFAR,
    "copier: prompts, D*, asked; null": [(chains, "prompted_recovery", in_one_round)],
    "copier: keys, D*; null, asked": [(chains, "key_errors", keys_of_others)],
    "copier: cliques flagged, true, spurious": [(cliques, "LINK", 4.0)],
    "copier: extracted at once, by cycles; null": [(cyclic, "normals", silent)],
    "copier: bits_memorized": [(bits, "log", lambda x: 1.0)],
    "copier: mean Mbar, nats": [(density, "trapezoid_weights", lambda sigmas: 1.1 * WEIGHTS(sigmas))],
    "copier: kid": [(samples, "kid", biased_kid)],
    "copier: coverage": [(samples, "coverage", lambda drawn, held: coverage(drawn, held, k=10))],
    "generalizer: n_memorized, n_calibrated; nulls": [(extraction, "MEMORIZED", 1.1)],
    "generalizer, 4 pixels: the same against nulls": NARROWER,
    "generalizer: held-out less seen loss, in SE": [(losses, "mean_and_se", over_draws)],
    "generalizer: membership_auc; tpr_at_1pct_fpr": NARROWER,
    "generalizer: ideal_distance, its null": NARROWER,
    "generalizer: trajectory_distance, last level": [(trajectories, "normals", lambda *keyed: 10 * normals(*keyed))],
    "generalizer, 4 pixels: basin, its null": NULL_AMONG_U,
    "generalizer, 4 pixels: cyclic, its null": NARROWER,
    "generalizer: prompts, null; of 4 pixels": [(prompted, "fill", lambda by, images, *rest, **more: images)],
    "generalizer: key_error; keys, null": [(keys, "fill", lambda by, images, *rest, **more: images)],
    "generalizer: cliques flagged; of 4 pixels": [(cliques, "clique_size", lambda *found: 2)],
    "generalizer: bits_memorized, _optimism, in SE": [(bits, "_excess_bits", clipping_kept)],
    "generalizer: largest Mbar": [(density, "normals", unpaired())],
    "generalizer: kid, in SE; coverage": [(samples, "kid", biased_kid)],
    "half copier: n_memorized/B; null": RAW_ROWS,
    "half copier: E_r at 1 2 4 8 copies": [
        (known_study, "HalfCopier", lambda rows, spread: HalfCopier(rows.unique(dim=0), spread))
    ],
    "half copier: membership_auc": HIGH_BAND,
    "half copier: ideal_distance, sigma below .2": [(bench, "IdealDenoiser", of_another_set)],
    "half copier: basin below sigma_c, of": FROM_AFAR,
    "half copier: L of the copier less its L, nats": [
        (density, "trapezoid_weights", lambda sigmas: 2 * WEIGHTS(sigmas))
    ],
    "prompts: generalizer, half copier, copier": [(prompted, "fill", lambda by, images, *rest, **more: images)],
    "leverage, untrained network: sum of h": NO_COPIES,
    "leverage: r copies against r rows": NO_COPIES,
    "leverage, untrained: seen less held-out, in SE": [(module, "_gradients", louder_for_seen)],
}


@pytest.fixture(scope="module")
def studies() -> Studies:
    return Studies(CPU)


def test_every_row_has_a_mutant():
    assert [row.instrument for row in ROWS] == list(MUTANTS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.instrument)
def test_each_row_is_ok(row, studies):
    made = row.check("", studies)
    assert made.ok, made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.instrument)
def test_each_row_catches_its_mutant(row, monkeypatch):
    for patch in MUTANTS[row.instrument]:
        monkeypatch.setattr(*patch)
    caught = row.check("", Studies(CPU))
    assert not caught.ok and "Error" not in str(caught.gave)


def test_the_densities_are_those_of_the_models():
    """Far images: ln(r_i / N) - (d/2)(1 + ln(2 pi sigma^2)) (K25); a population by quadrature in one dimension."""
    unique, copies = torch.tensor([[-1.0], [0.5], [1.0]]), torch.tensor([1, 2, 1])
    assert float(log_of_copier(unique, unique, copies, 0.1)[0]) == pytest.approx(-0.502648, abs=1e-4)
    population, x, sigma = Generalizer(torch.full((1, 1, 1), MEAN).double(), SPREAD), 0.25, SIGMA_MIN
    z, v = torch.linspace(-8, 8, 4001, dtype=torch.float64), SPREAD**2 + sigma**2
    at = x + sigma * z
    q = sum((-((at - m) ** 2) / (2 * v)).exp() / 2 for m in (MEAN, -MEAN)) / (2 * pi * v) ** 0.5
    expected = torch.trapezoid(q.log() * (-(z**2) / 2).exp() / (2 * pi) ** 0.5, z)
    found = log_of_population(torch.full((2000, 1), x), population, sigma).mean()
    assert float(found) == pytest.approx(float(expected), abs=0.005)
