"""Generated samples: drawn once an evaluation, then looked at by every instrument that asks for them."""

import logging
from dataclasses import asdict
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from scaling.diffusion.denoiser import Denoiser
from scaling.diffusion.sampler import karras_sigmas, sample
from scaling.fields import EvaluateConfig
from scaling.memorization.cliques import Flagged, generate_and_filter
from scaling.memorization.criteria import MEMORIZED, Match, match
from scaling.memorization.cyclic import cyclic_extraction
from scaling.memorization.extraction import extraction
from scaling.memorization.trajectory import Trajectory
from scaling.quality.coverage import coverage
from scaling.quality.distances import frechet, kid
from scaling.quality.features import features
from scaling.training.bench import Bench
from scaling.training.instruments.measurement import Measurement

GALLERY_HALF = 12  # samples shown: the first drawn, and as many with the smallest gap ratio
MOST_SPURIOUS = 8  # groups of which one sample is kept to be looked at
BASELINE = 2048  # training images at most behind kid_train
log = logging.getLogger(__name__)


def samples(denoiser: Denoiser, bench: Bench, config: EvaluateConfig, found: Measurement, wanted: set[str]) -> None:
    """The instruments `neighbors`, `cliques`, `quality`, `trajectory` and `cyclic`, as far as they are wanted."""
    path = bench.trajectory(config) if "trajectory" in wanted else None
    drawn, labels = _draw(denoiser, bench, config, found, path)
    if not len(drawn):
        log.warning("no finite sample: all that samples would tell is left empty")
        return
    if path is not None:
        for sigma, distance in zip(path.sigmas.tolist(), path.distance().tolist(), strict=True):
            value = found.number(distance, "trajectory_distance of a level")
            found.noise_levels.append({"kind": "sampler", "sigma": sigma, "trajectory_distance": value})
    judge(drawn, labels, bench, config, found, wanted)
    if "cyclic" in wanted:
        _cyclic(denoiser, drawn, labels, bench, config, found)


def judge(
    drawn: Tensor, labels: Tensor | None, bench: Bench, config: EvaluateConfig, found: Measurement, wanted: set[str]
) -> None:
    """`neighbors`, `cliques` and `quality`, as far as wanted, of finite samples [B C H W] whoever drew them."""
    if "neighbors" in wanted:
        _neighbors(drawn, labels, bench, found)
    if "cliques" in wanted:
        _cliques(drawn, bench, found)
    if "quality" in wanted:
        _quality(drawn, bench, config, found)


def _draw(
    denoiser: Denoiser, bench: Bench, config: EvaluateConfig, found: Measurement, path: Trajectory | None
) -> tuple[Tensor, Tensor | None]:
    """Finite samples [B C H W] and their labels; the others are refused and counted, never "not memorized"."""
    noise, labels = bench.sample_noise(config.samples), bench.sample_labels(config.samples)
    visit = None if path is None else path.visit
    drawn = sample(denoiser, noise, karras_sigmas(config.sampler_steps), labels, visit=visit)
    finite = drawn.flatten(1).isfinite().all(dim=1)
    found.evals |= {"n_generated": int(finite.sum()), "n_nonfinite": int((~finite).sum())}
    if not finite.all():
        log.warning("%d of %d samples are not finite and refused", found.evals["n_nonfinite"], len(drawn))
    found.arrays["samples"] = drawn[finite].cpu().numpy()
    return drawn[finite], None if labels is None else labels[finite]


def _neighbors(drawn: Tensor, labels: Tensor | None, bench: Bench, found: Measurement) -> None:
    train, null = bench.train, bench.null
    match_train = match(drawn.flatten(1), train.members, train.family)
    out = extraction(match_train, train.copies_tensor())
    totals = ("n_memorized", "n_memorized_14", "n_memorized_12", "n_calibrated", "n_extracted")
    found.evals |= {name: getattr(out, name) for name in totals}
    null_hits: dict[int, int] = {}
    if len(null.images) > 1:  # a study always holds images out; somebody else's model may have come without any
        out_null = extraction(match(drawn.flatten(1), null.members), null.copies_tensor())
        found.evals |= {"n_null_memorized": out_null.n_memorized, "n_null_calibrated": out_null.n_calibrated}
        null_hits = {stratum.copies: stratum.n_hits for stratum in out_null.strata}
    for row, stratum in zip(found.strata, out.strata, strict=True):
        row |= asdict(stratum)
        row["n_null_memorized"] = null_hits.get(row["copies"])  # empty where no held-out image stands for the stratum
    rows = found.in_training(bench)
    for row, n_hits, ratio in zip(rows, out.hits.tolist(), out.best_ratio.tolist(), strict=True):
        row["n_hits"], row["best_ratio"] = n_hits, ratio if isfinite(ratio) else None
    if labels is not None:
        agreed = (match_train.ratio < MEMORIZED) & (train.labels[match_train.image] == labels)
        found.evals |= {"n_label_agreed": int(agreed.sum()), "label_agreed_null": bench.chance_of_label}
    _gallery(drawn, match_train, bench, found)


def _gallery(drawn: Tensor, found_match: Match, bench: Bench, found: Measurement) -> None:
    ratio, image = found_match.ratio.cpu().numpy(), found_match.image.cpu().numpy()
    first = np.arange(min(GALLERY_HALF, len(ratio)))
    shown = np.concatenate([first, np.argsort(ratio, kind="stable")[:GALLERY_HALF]])
    pixels = drawn[torch.tensor(shown, device=drawn.device)]
    found.arrays |= {
        "ratio": ratio,
        "nearest": bench.data.positions[image],
        "gallery_samples": to_bytes(pixels),
        "gallery_nearest": bench.data.pool[bench.data.positions[image[shown]]],
        "gallery_ratio": ratio[shown],
        "gallery_copies": bench.train.copies[image[shown]],
    }


def to_bytes(images: Tensor) -> np.ndarray:
    """Images in [-1, 1] as uint8."""
    return ((images + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def _cliques(drawn: Tensor, bench: Bench, found: Measurement) -> None:
    try:
        groups = generate_and_filter(drawn.flatten(1), bench.train.members, bench.train.family, bench.holdout.members)
    except ValueError as error:  # too few held-out images to say which distance is near
        log.warning("cliques are left empty: %s", error)
        return
    names = ("n_flagged", "n_flagged_true", "n_spurious")
    found.evals |= {name: getattr(groups, name) for name in names}
    _spurious_gallery(drawn, groups, bench, found)


def _spurious_gallery(drawn: Tensor, groups: Flagged, bench: Bench, found: Measurement) -> None:
    """The medoids of the largest spurious groups beside the training image nearest to each."""
    spurious, sizes = groups.spurious.cpu().numpy(), groups.sizes.cpu().numpy()
    order = np.argsort(-sizes, kind="stable")  # of equals the one found first
    shown = order[spurious[order]][:MOST_SPURIOUS]
    image = groups.image.cpu().numpy()[shown]
    found.arrays |= {
        "spurious_samples": to_bytes(drawn[groups.medoids[torch.tensor(shown, device=drawn.device)]]),
        "spurious_nearest": bench.data.pool[bench.data.positions[image]],
        "spurious_ratio": groups.ratio.cpu().numpy()[shown].astype(np.float32),
        "spurious_size": sizes[shown],
    }


def _quality(drawn: Tensor, bench: Bench, config: EvaluateConfig, found: Measurement) -> None:
    held = features(config.features, bench.holdout.images)
    found.evals["feature_space"] = config.features
    made = {"": drawn, "_train": bench.train.images[:BASELINE]}
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
            _coverage(of_images, held, found)


def _coverage(of_samples: Tensor, held: Tensor, found: Measurement) -> None:
    try:
        found.evals["coverage"] = coverage(of_samples, held)
    except ValueError as error:  # too few held-out images for a ball to the fifth neighbour
        log.warning("coverage is left empty: %s", error)


def _cyclic(
    denoiser: Denoiser, drawn: Tensor, labels: Tensor | None, bench: Bench, config: EvaluateConfig, found: Measurement
) -> None:
    attack = cyclic_extraction(
        denoiser, drawn, bench.train.members, bench.train.family, bench.null.members,
        sigma_c=bench.basin_sigma, steps=bench.chain_steps(config), cycles=config.cycles, labels=labels,
    )  # fmt: skip
    found.evals |= {
        "n_cyclic": attack.n_chains,
        "n_cyclic_extracted": int(attack.extracted.sum()),
        "n_null_cyclic_extracted": int(attack.null_extracted.sum()),
    }
