"""Losses, membership and the distance to the ideal denoiser: what one pass over the images and noise levels tells."""

import logging

import numpy as np
import torch
from torch import Tensor

from scaling.diffusion.denoiser import Denoiser
from scaling.memorization.ideal_distance import IdealDistance, ideal_distance
from scaling.memorization.losses import LIMIT, image_losses, mean_and_se
from scaling.memorization.membership import membership, membership_scores
from scaling.training.bench import Bench, Group
from scaling.training.instruments.measurement import Measurement

log = logging.getLogger(__name__)


class Recorder:
    """A denoiser that keeps what it was asked and what it answered, in order."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.kept = denoiser, []

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        self.kept.append((x, self.denoiser(x, sigma, labels)))
        return self.kept[-1][1]

    def replay(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """The next answer [B C H W] again; raises RuntimeError where the question is another one."""
        asked, answer = self.kept.pop(0)
        if not torch.equal(asked, x):
            raise RuntimeError("ideal_distance asks the network other questions than the losses did: batches differ")
        return answer


def losses(denoiser: Denoiser, bench: Bench, found: Measurement, wanted: set[str]) -> None:
    """The instruments `loss`, `membership` and `ideal`, as far as they are wanted."""
    subset, ones = bench.loss_subset, torch.ones(1, device=bench.sigmas.device)
    with_ideal = "ideal" in wanted
    null_group = bench.null.take(np.arange(min(len(bench.null.images), LIMIT)))
    seen, distance = _pass(denoiser, bench, bench.measured, (bench.train, subset.weight) if with_ideal else None)
    null, null_distance = _pass(denoiser, bench, null_group, (bench.null, ones) if with_ideal else None)
    levels: dict[float, dict[str, object]] = {sigma: {} for sigma in bench.sigmas.tolist()}
    if wanted & {"loss", "membership"}:
        others = np.arange(len(null), min(len(bench.data.holdout), LIMIT))
        rest, _ = _pass(denoiser, bench, bench.holdout.take(others), None)
        held = torch.cat([null, rest])
        left = None if bench.left_out is None else _pass(denoiser, bench, bench.left_out, None)[0]
        if "loss" in wanted:
            _loss_columns(seen, held, left, bench, found, levels)
        if "membership" in wanted:
            _membership_columns(seen, held, left, bench, found)
    if with_ideal:
        found.evals["ideal_distance"] = found.number(distance.value, "ideal_distance")
        found.evals["ideal_distance_se"] = found.number(distance.se, "ideal_distance_se")
        found.evals["ideal_distance_null"] = found.number(null_distance.value, "ideal_distance_null")
        for row, value in zip(levels.values(), _by_level(bench.sigmas, distance.levels), strict=True):
            row["ideal_distance"] = found.number(float(value), "ideal_distance of a level")
    found.noise_levels += [{"kind": "loss", "sigma": sigma, **row} for sigma, row in levels.items() if row]


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
    found = image_losses(
        asked, group.images, group.labels, group.positions, bench.sigmas, sigma_data=bench.data.std
    )  # fmt: skip
    if reference is None:
        return found, None
    whole, weight = reference
    return found, ideal_distance(
        recorder.replay, whole.ideal, whole.linear, group.images, group.copies_tensor() * weight,
        group.positions, bench.sigmas, sigma_data=bench.data.std, labels=group.labels,
    )  # fmt: skip


def _by_level(sigmas: Tensor, values: Tensor) -> Tensor:
    """Means over equal levels (a fixed sigma is one level with J draws): values [... J] -> [distinct levels ...]."""
    _, group = torch.unique_consecutive(sigmas, return_inverse=True)
    merged = values.new_zeros(*values.shape[:-1], int(group.max()) + 1).index_add_(-1, group, values)
    return (merged / torch.bincount(group)).movedim(-1, 0)


def _loss_columns(
    seen: Tensor, held: Tensor, left: Tensor | None, bench: Bench, found: Measurement, levels: dict[float, dict]
) -> None:
    weight = bench.loss_subset.weight
    for name, values, by in (("seen_loss", seen, weight), ("holdout_loss", held, None)):
        _estimate(found, found.evals, name, values.mean(dim=1), by)
        for row, column in zip(levels.values(), _by_level(bench.sigmas, values), strict=True):
            _estimate(found, row, name, column, by)
    copies = bench.measured.copies_tensor()
    for row in found.strata:
        mine = seen[copies == row["copies"]]
        if len(mine):
            _estimate(found, row, "seen_loss", mine.mean(dim=1), None)
    _by_image(found, bench, "loss", seen.mean(dim=1), held.mean(dim=1), None if left is None else left.mean(dim=1))


def _by_image(found: Measurement, bench: Bench, name: str, seen: Tensor, held: Tensor, left: Tensor | None) -> None:
    first = len(bench.data.pool)
    found.fill_images(bench.measured.positions.tolist(), name, seen)
    found.fill_images(list(range(first, first + len(held))), name, held)
    if left is not None:
        found.fill_images(bench.left_out.positions.tolist(), name, left)


def _estimate(found: Measurement, row: dict[str, object], name: str, values: Tensor, weight: Tensor | None) -> None:
    mean, se = mean_and_se(values, weight)
    row[name] = found.number(mean, name)
    row[f"{name}_se"] = None if len(values) == 1 else found.number(se, f"{name}_se")


def _membership_columns(seen: Tensor, held: Tensor, left: Tensor | None, bench: Bench, found: Measurement) -> None:
    everything = [values for values in (seen, held, left) if values is not None]
    if not all(values.isfinite().all() for values in everything):
        log.warning("membership is left empty: the loss of an image is not finite")
        return
    try:
        scores = [membership_scores(values, bench.sigmas) for values in everything]
    except ValueError as error:  # no level inside the band, as with a fixed sigma outside it
        log.warning("membership is left empty: %s", error)
        return
    of_seen, of_held = scores[:2]
    weight, copies = bench.loss_subset.weight, bench.measured.copies_tensor()
    whole = bool((weight == 1).all())
    paired = whole and len(of_seen) == len(of_held) and bench.data.in_training.all()
    attack = membership(of_seen, of_held, weight=None if whole else weight, paired=bool(paired))
    found.evals["membership_auc"] = attack.auc
    found.evals["membership_auc_se"] = _se(attack.auc_se)
    found.evals["tpr_at_1pct_fpr"] = attack.tpr
    for row in found.strata:
        mine = of_seen[copies == row["copies"]]
        if len(mine) > 1:
            one = membership(mine, of_held)
            row["membership_auc"], row["membership_auc_se"] = one.auc, _se(one.auc_se)
    _by_image(found, bench, "membership_score", of_seen, of_held, scores[2] if left is not None else None)


def _se(value: float) -> float | None:
    """Empty where DeLong's estimate says nothing: 0 at AUC 0 or 1 (every image on its side), NaN with one image."""
    return value if value > 0 else None
