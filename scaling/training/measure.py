"""All instruments on one denoiser: arrays in, columns out. No file, no clock, no configuration but what to measure."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from scaling.data.sources import image_id
from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.sampler import karras_sigmas, sample
from scaling.fields import EvaluateConfig
from scaling.memorization.basin import basin_recovery
from scaling.memorization.criteria import Match, match
from scaling.memorization.extraction import extraction
from scaling.memorization.ideal_distance import IdealDistance, ideal_distance
from scaling.memorization.losses import LIMIT, image_losses, mean_and_se
from scaling.quality.distances import frechet, kid
from scaling.quality.features import features
from scaling.training.bench import Bench, Group

GALLERY_HALF = 12  # samples shown: the first drawn, and as many with the smallest gap ratio
BASELINE = 2048  # training images at most behind kid_train
log = logging.getLogger(__name__)


@dataclass
class Measurement:
    """Columns by table; strata keyed by copies until the end, images in the order pool, hold-out."""

    evals: dict[str, object] = field(default_factory=dict)
    strata: list[dict[str, object]] = field(default_factory=list)
    noise_levels: list[dict[str, object]] = field(default_factory=list)
    images: list[dict[str, object]] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)  # values that were not finite

    def number(self, value: float, what: str) -> float | None:
        """The value, or None with a line in the log (the first time) where it is not finite."""
        if isfinite(value):
            return value
        if what not in self.refused:
            log.warning("%s is %s and left empty: too few samples, or weights far too large", what, value)
        self.refused.add(what)
        return None

    def in_training(self, bench: Bench) -> list[dict[str, object]]:
        """The images rows of the training images, in the order of bench.train."""
        return [self.images[position] for position in bench.data.positions]


def measure(denoiser: Denoiser, bench: Bench, config: EvaluateConfig) -> Measurement:
    """Run the instruments of `config.measures`; what cannot be evaluated stays empty and is logged with the reason."""
    found = Measurement(images=_image_rows(bench))
    found.strata = [_stratum_row(bench, r) for r in bench.train.strata]
    found.evals |= {"n_generated": 0, "n_nonfinite": 0, "n_draws": config.draws}
    wanted = set(config.measures)
    with torch.inference_mode():
        if wanted & {"loss", "ideal"}:
            _losses(denoiser, bench, found, with_ideal="ideal" in wanted, with_loss="loss" in wanted)
        if wanted & {"neighbors", "quality"}:
            samples = _draw(denoiser, bench, config, found)
            if "neighbors" in wanted:
                _neighbors(samples, bench, found)
            if "quality" in wanted:
                _quality(samples, bench, config, found)
        if "basin" in wanted:
            _basin(denoiser, bench, config, found)
    return found


def _image_rows(bench: Bench) -> list[dict[str, object]]:
    data = bench.data
    pixels, labels = np.concatenate([data.pool, data.holdout]), np.concatenate([data.pool_labels, data.holdout_labels])
    copies = np.concatenate([data.pool_copies, np.zeros(len(data.holdout), int)])
    inside = np.concatenate([data.in_training, np.zeros(len(data.holdout), bool)])
    roles = ["train" if inside[at] else "left_out" for at in range(len(data.pool))] + ["holdout"] * len(data.holdout)
    rows = [
        {"image_id": image_id(image), "role": role, "label": int(label), "copies": int(r), "in_training": bool(isin)}
        for image, role, label, r, isin in zip(pixels, roles, labels, copies, inside, strict=True)
    ]
    for name, values in bench.density.items():
        for row, value in zip(rows, values.tolist(), strict=True):
            row[name] = value if isfinite(value) else None
    return rows


def _stratum_row(bench: Bench, copies: int) -> dict[str, object]:
    return {"copies": copies, "n_images": int((bench.train.copies == copies).sum())}


# -- losses and the ideal denoiser: one pass of the network ----------------------------------------------------------


class Recorder:
    """A denoiser that keeps what it was asked and what it answered, in order."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.kept = denoiser, []

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        self.kept.append((x, self.denoiser(x, sigma, labels)))
        return self.kept[-1][1]

    def replay(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """The next answer again; raises RuntimeError where the question is another one."""
        asked, answer = self.kept.pop(0)
        if not torch.equal(asked, x):
            raise RuntimeError("ideal_distance asks the network other questions than the losses did: batches differ")
        return answer


def _losses(denoiser: Denoiser, bench: Bench, found: Measurement, *, with_loss: bool, with_ideal: bool) -> None:
    subset, ones = bench.loss_subset, torch.ones(1, device=bench.sigmas.device)
    seen_group = bench.train.take(subset.index.cpu().numpy())
    null_group = bench.null.take(np.arange(min(len(bench.null.images), LIMIT)))
    seen, distance = _pass(denoiser, bench, seen_group, (bench.train, subset.weight) if with_ideal else None)
    null, null_distance = _pass(denoiser, bench, null_group, (bench.null, ones) if with_ideal else None)
    levels: dict[float, dict[str, object]] = {sigma: {} for sigma in bench.sigmas.tolist()}
    if with_loss:
        others = np.arange(len(null), min(len(bench.data.holdout), LIMIT))
        rest, _ = _pass(denoiser, bench, bench.holdout.take(others), None)
        _loss_columns(seen, torch.cat([null, rest]), bench, found, levels)
        if bench.left_out is not None:
            left, _ = _pass(denoiser, bench, bench.left_out, None)
            _image_losses(left, bench.left_out.positions.tolist(), found)
    if with_ideal:
        found.evals["ideal_distance"] = found.number(distance.value, "ideal_distance")
        found.evals["ideal_distance_se"] = found.number(distance.se, "ideal_distance_se")
        found.evals["ideal_distance_null"] = found.number(null_distance.value, "ideal_distance_null")
        for row, value in zip(levels.values(), _by_level(bench.sigmas, distance.levels), strict=True):
            row["ideal_distance"] = found.number(float(value), "ideal_distance of a level")
    found.noise_levels += [{"kind": "loss", "sigma": sigma, **row} for sigma, row in levels.items()]


def _pass(
    denoiser: Denoiser, bench: Bench, group: Group, reference: tuple[Group, Tensor] | None
) -> tuple[Tensor, IdealDistance | None]:
    """Losses [N J] of the group's images and their distance to the ideal denoiser of a reference set.

    reference: that set, and the weight of each of the group's images (1, or as the subset has it).
    """
    if not len(group.images):
        return torch.empty(0, len(bench.sigmas), dtype=torch.float64, device=group.images.device), None
    recorder = Recorder(denoiser)
    asked = denoiser if reference is None else recorder
    losses = image_losses(
        asked, group.images, group.labels, group.positions, bench.sigmas, sigma_data=denoiser.sigma_data
    )
    if reference is None:
        return losses, None
    whole, weight = reference
    return losses, ideal_distance(
        recorder.replay, whole.ideal, whole.linear, group.images, group.copies_tensor() * weight,
        group.positions, bench.sigmas, sigma_data=denoiser.sigma_data, labels=group.labels,
    )  # fmt: skip


def _by_level(sigmas: Tensor, values: Tensor) -> Tensor:
    """Means over equal levels (a fixed sigma is one level with J draws): values [... J] -> [distinct levels ...]."""
    _, group = torch.unique_consecutive(sigmas, return_inverse=True)
    merged = values.new_zeros(*values.shape[:-1], int(group.max()) + 1).index_add_(-1, group, values)
    return (merged / torch.bincount(group)).movedim(-1, 0)


def _loss_columns(
    seen: Tensor, held: Tensor, bench: Bench, found: Measurement, levels: dict[float, dict[str, object]]
) -> None:
    weight, positions = bench.loss_subset.weight, bench.train.positions[bench.loss_subset.index]
    for name, losses, by in (("seen_loss", seen, weight), ("holdout_loss", held, None)):
        _estimate(found, found.evals, name, losses.mean(dim=1), by)
        for row, column in zip(levels.values(), _by_level(bench.sigmas, losses), strict=True):
            _estimate(found, row, name, column, by)
    copies = bench.train.copies_tensor()[bench.loss_subset.index]
    for row in found.strata:
        _estimate(found, row, "seen_loss", seen[copies == row["copies"]].mean(dim=1), None)
    _image_losses(seen, positions.tolist(), found)
    first = len(bench.data.pool)
    _image_losses(held, range(first, first + len(held)), found)


def _estimate(found: Measurement, row: dict[str, object], name: str, losses: Tensor, weight: Tensor | None) -> None:
    mean, se = mean_and_se(losses, weight)
    row[name] = found.number(mean, name)
    row[f"{name}_se"] = None if len(losses) == 1 else found.number(se, f"{name}_se")


def _image_losses(losses: Tensor, rows: Iterable[int], found: Measurement) -> None:
    for at, value in zip(rows, losses.mean(dim=1).tolist(), strict=True):
        found.images[at]["loss"] = found.number(value, "loss of an image")


# -- generated samples -----------------------------------------------------------------------------------------------


def _draw(denoiser: Denoiser, bench: Bench, config: EvaluateConfig, found: Measurement) -> Tensor:
    """Finite samples [B C H W]; the others are counted and refused, never counted as not memorized."""
    noise, labels = bench.sample_noise(config.samples), bench.sample_labels(config.samples)
    drawn = sample(denoiser, noise, karras_sigmas(config.sampler_steps), labels)
    finite = drawn.flatten(1).isfinite().all(dim=1)
    found.evals |= {"n_generated": int(finite.sum()), "n_nonfinite": int((~finite).sum())}
    if not finite.all():
        log.warning("%d of %d samples are not finite and refused", found.evals["n_nonfinite"], len(drawn))
    found.arrays["samples"] = drawn[finite].cpu().numpy()
    return drawn[finite]


def _neighbors(samples: Tensor, bench: Bench, found: Measurement) -> None:
    if not len(samples):
        log.warning("no finite sample: memorization of samples is left empty")
        return
    train, null = bench.train, bench.null
    match_train = match(samples.flatten(1), train.members, train.family)
    out = extraction(match_train, train.copies_tensor())
    out_null = extraction(match(samples.flatten(1), null.members), null.copies_tensor())
    totals = ("n_memorized", "n_memorized_14", "n_memorized_12", "n_calibrated", "n_extracted")
    found.evals |= {name: getattr(out, name) for name in totals}
    found.evals |= {"n_null_memorized": out_null.n_memorized, "n_null_calibrated": out_null.n_calibrated}
    null_hits = {stratum.copies: stratum.n_hits for stratum in out_null.strata}
    for row, stratum in zip(found.strata, out.strata, strict=True):
        row |= asdict(stratum)
        row["n_null_memorized"] = null_hits.get(row["copies"])  # empty where no held-out image stands for the stratum
    rows = found.in_training(bench)
    for row, n_hits, ratio in zip(rows, out.hits.tolist(), out.best_ratio.tolist(), strict=True):
        row["n_hits"], row["best_ratio"] = n_hits, ratio if isfinite(ratio) else None
    _gallery(samples, match_train, bench, found)


def _gallery(samples: Tensor, found_match: Match, bench: Bench, found: Measurement) -> None:
    ratio, image = found_match.ratio.cpu().numpy(), found_match.image.cpu().numpy()
    first = np.arange(min(GALLERY_HALF, len(ratio)))
    shown = np.concatenate([first, np.argsort(ratio, kind="stable")[:GALLERY_HALF]])
    pixels = samples[torch.tensor(shown, device=samples.device)]
    found.arrays |= {
        "ratio": ratio,
        "nearest": bench.data.positions[image],
        "gallery_samples": ((pixels + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy(),
        "gallery_nearest": bench.data.pool[bench.data.positions[image[shown]]],
        "gallery_ratio": ratio[shown],
        "gallery_copies": bench.train.copies[image[shown]],
    }


def _quality(samples: Tensor, bench: Bench, config: EvaluateConfig, found: Measurement) -> None:
    held = features(config.features, bench.holdout.images)
    found.evals["feature_space"] = config.features
    made = {"": samples, "_train": bench.train.images[:BASELINE]}
    for suffix, images in made.items():
        if min(len(images), len(held)) < 2:
            log.warning(
                "%d images against %d held out: kid and frechet%s are left empty", len(images), len(held), suffix
            )
            continue
        of_images = features(config.features, images)
        distance = kid(of_images, held)
        found.evals |= {f"kid{suffix}": distance.value, f"frechet{suffix}": frechet(of_images, held)}
        if not suffix:
            found.evals["kid_se"] = found.number(distance.se, "kid_se")


# -- basin recovery --------------------------------------------------------------------------------------------------


def _basin(denoiser: Denoiser, bench: Bench, config: EvaluateConfig, found: Measurement) -> None:
    # As fine as the sampler itself: as many steps as its own path has levels below the start.
    steps = 1 + int((karras_sigmas(config.sampler_steps)[:-1] < bench.basin_sigma).sum())

    def recovered(group: Group, rows: np.ndarray) -> Tensor:
        some, target = group.take(rows), torch.tensor(rows, device=group.images.device)
        return basin_recovery(
            denoiser, some.images, some.positions, some.members, target, sigma_b=bench.basin_sigma, steps=steps,
            family=some.family, labels=some.labels,
        )  # fmt: skip

    back, null = recovered(bench.train, bench.basin_rows), recovered(bench.null, bench.null_basin_rows)
    found.evals |= {"n_basin": back.numel(), "n_basin_recovered": int(back.sum())}
    found.evals |= {"n_null_basin": null.numel(), "n_null_basin_recovered": int(null.sum())}
    by_image, draws = back.sum(dim=1).cpu().numpy(), back.shape[1]
    copies = bench.train.copies[bench.basin_rows]
    for row in found.strata:
        mine = copies == row["copies"]
        row["n_basin"], row["n_basin_recovered"] = int(mine.sum()) * draws, int(by_image[mine].sum())
    rows = found.in_training(bench)
    for at, count in zip(bench.basin_rows.tolist(), by_image.tolist(), strict=True):
        rows[at]["n_basin_recovered"] = count
