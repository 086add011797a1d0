"""Copies must not hide themselves: what instruments on unique images give, and what the same on raw rows would.

Among rows the second neighbour of a copied image is its copy, so that the most copied images look the least memorized.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from scaling.data.noise import normals
from scaling.data.streams import CONSTANT
from scaling.memorization.criteria import MEMORIZED, Match, gap_ratio, match
from scaling.memorization.extraction import extraction
from scaling.selfcheck.table import Check, Given, Row, answered, shown

PIXELS, UNIQUE, COPIED = 256, 500, 50  # K7
COPIES = (1, 2, 10, 60)


class TrainingRows(NamedTuple):
    """A training set as it is stored: rows [N D], the image int64 [N] that each is a copy of; samples near COPIED."""

    rows: Tensor
    image: Tensor
    samples: Tensor  # [COPIED D] image i plus noise .02


def training_rows(copies: int, device: torch.device) -> TrainingRows:
    """K7: the first 50 of 500 images have `copies` copies, the others one."""
    unique = _noise("draw", UNIQUE, device)
    often = torch.ones(UNIQUE, dtype=torch.int64, device=device)
    often[:COPIED] = copies
    image = torch.arange(UNIQUE, device=device).repeat_interleave(often)
    return TrainingRows(unique[image], image, unique[:COPIED] + 0.02 * _noise("noise", COPIED, device))


def _noise(stream: str, count: int, device: torch.device) -> Tensor:
    return normals(CONSTANT, stream, torch.arange(count, device=device), PIXELS)


def _share(passed: Tensor) -> float:
    return float(passed.double().mean())


def _by_copies(passes: str, inverted: tuple[float, ...], device: torch.device) -> Given:
    """Share of the samples that pass at each number of copies: by image it must be 1, by row what is `inverted`."""
    by_image, by_row = [], []
    for copies in COPIES:
        rows, image, samples = training_rows(copies, device)
        for shares, found in ((by_image, match(samples, rows, image)), (by_row, match(samples, rows))):
            shares.append(_share(found.ratio < MEMORIZED if passes == "ratio" else found.calibrated < 1))
    ok = by_image == [1.0] * len(COPIES) and by_row == list(inverted)
    return Given(f"{shown(by_image)} (rows {shown(by_row)})", ok)


def _gap(device: torch.device) -> Given:
    return _by_copies("ratio", (1, 0, 0, 0), device)


def _calibrated(device: torch.device) -> Given:
    return _by_copies("calibrated", (1, 1, 1, 0), device)


def _table_by_stratum(device: torch.device) -> Given:
    """One training set with 50 images at each number of copies, 50 samples of each: what `strata` would record."""
    unique = _noise("draw", UNIQUE, device)
    copies = torch.ones(UNIQUE, dtype=torch.int64, device=device)
    copied = len(COPIES) * COPIED
    copies[:copied] = torch.tensor(COPIES, device=device).repeat(COPIED)
    samples = unique[:copied] + 0.02 * _noise("noise", copied, device)
    image = torch.arange(UNIQUE, device=device).repeat_interleave(copies)
    found = match(samples, unique[image], image)
    hits = [stratum.n_hits for stratum in extraction(found, copies).strata]
    rows = match(samples, unique[image])
    of_rows = Match(rows.ratio, image[rows.image], rows.calibrated)
    inverted = [stratum.n_hits for stratum in extraction(of_rows, copies).strata]
    return Given(
        f"{shown(hits)} (rows {shown(inverted)})", hits == [COPIED] * len(COPIES) and inverted == [50, 0, 0, 0]
    )


def _near_copies(device: torch.device) -> Given:
    """K8: 50 families of 8 members with noise .03; samples are members with noise .02."""
    unique = _noise("draw", UNIQUE, device)
    family = torch.arange(UNIQUE, device=device)
    family = torch.cat([family[:COPIED].repeat_interleave(8), family[COPIED:]])
    moved = 0.03 * _noise("near", 8 * COPIED, device)
    members = torch.cat([unique[:COPIED].repeat_interleave(8, dim=0) + moved, unique[COPIED:]])
    samples = members[: len(moved)] + 0.02 * _noise("noise", len(moved), device)
    by_family, by_hash = gap_ratio(samples, members, family), gap_ratio(samples, members)
    shares = [_share(found.ratio < MEMORIZED) for found in (by_family, by_hash)]
    medians = [float(found.ratio.median()) for found in (by_family, by_hash)]
    ok = shares == [1, 0] and abs(medians[0] - 0.016) <= 0.002 and abs(medians[1] - 0.45) <= 0.03
    right = torch.equal(by_family.image, family[: len(moved)])
    return Given(f"{shares[0]:g} at {medians[0]:.4f} (hash {shares[1]:g} at {medians[1]:.3f})", ok and right)


ROWS = (
    Row("gap ratio at 1 2 10 60 copies (K7)", "1 1 1 1 (raw rows would give 1 0 0 0)", _gap),
    Row("calibrated distance, the same (K7)", "1 1 1 1 (raw rows would give 1 1 1 0)", _calibrated),
    Row("n_hits of 50 by stratum 1 2 10 60", "50 50 50 50 (raw rows would give 50 0 0 0)", _table_by_stratum),
    Row("near copies, families of 8 (K8)", "1, median ratio .016 (by content hash 0, .45)", _near_copies),
)


def checks(device: torch.device) -> Iterator[Check]:
    """Each check as it is made."""
    return answered("duplicates", ROWS, device)
