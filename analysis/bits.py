"""bits_memorized of a run against a named reference run: one without the images, or larger and with more data.

L_run - L_reference from the images tables of both, image by image; constants of the bound cancel (measures.md 2.11).
"""

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from analysis.columns import TableError, column, numbers

if TYPE_CHECKING:
    from pandas import DataFrame

DENSITY = "log_density_bound"


def bits_against(
    images: "DataFrame", run: str, reference: str, *, evals: "DataFrame | None" = None, level: float = 0.95
) -> "DataFrame":
    """Sum over images of max(0, L_run - L_reference) / ln 2, less n times its mean over images that neither run saw.

    One row for each group of the run's training images: `reference_saw` = "any", "with" (the reference was trained
    with the image) or "without" it: the counterfactual proper; `copies` in the run, NaN = all. Columns n_images
    (matched by image_id and measured in both runs; a sum over these alone), n_trained (of the group in the table),
    n_null, bits, se (over images), lo, hi. They share the null images. The interval is empty where one image, or a sum
    that clipping leaves 0 everywhere, does not show a spread. With `evals` both runs must have one sigma_min.
    Raises TableError on runs that cannot be compared.
    """
    import pandas

    pair = _matched(images, run, reference)
    if evals is not None:
        _check_sigma_min(evals, run, reference)
    gain = np.maximum(pair.gain.to_numpy(), 0)  # NaN stays NaN
    measured = ~np.isnan(gain)
    null = gain[measured & ~pair.run_saw & ~pair.reference_saw]
    if len(null) < 2:
        raise TableError(
            f"runs {run} and {reference}: {len(null)} measured image(s) that neither was trained on; clipping at 0 is "
            f"biased up and they show by how much: give both runs the same data.draw, so that they share a hold-out"
        )
    if not (measured & pair.run_saw).any():
        raise TableError(
            f"run {run}: none of its training images is measured in run {reference} too; give both the same data.draw"
        )
    rows = []
    for who, group in {
        "any": pair.run_saw,
        "with": pair.run_saw & pair.reference_saw,
        "without": pair.run_saw & ~pair.reference_saw,
    }.items():
        for copies in [np.nan, *np.unique(pair.copies[group])]:
            members = group if np.isnan(copies) else group & (pair.copies == copies)
            seen = gain[measured & members]
            if len(seen):
                bits, se = _excess_bits(seen, null)
                half = ndtri((1 + level) / 2) * se
                rows.append((who, copies, len(seen), int(members.sum()), len(null), bits, se, bits - half, bits + half))
    names = ["reference_saw", "copies", "n_images", "n_trained", "n_null", "bits", "se", "lo", "hi"]
    return pandas.DataFrame(rows, columns=names)


def _excess_bits(seen: np.ndarray, null: np.ndarray) -> tuple[float, float]:
    """n (mean seen - mean null) / ln 2 over the n images of `seen`, and its standard error over both."""
    n = len(seen)
    se = n * np.sqrt(seen.var(ddof=1) / n + null.var(ddof=1) / len(null)) if n > 1 else np.nan
    return n * (seen.mean() - null.mean()) / np.log(2), (se if se > 0 else np.nan) / np.log(2)


def _matched(images: "DataFrame", run: str, reference: str) -> "DataFrame":
    """A row for each image of both runs: gain = L_run - L_reference (nats), which run saw it, copies in the run."""
    import pandas

    if run == reference:
        raise TableError(f"run {run}: it cannot be its own reference; name another run")
    sides = []
    for name in (run, reference):
        side = images[column(images, "run_id", "images").astype(str).to_numpy() == name]
        if side.empty:
            known = ", ".join(sorted(set(images["run_id"].astype(str)))[:8]) or "no run"
            raise TableError(f"run {name}: not in the images table, which holds {known}; name one of these")
        density = numbers(side, DENSITY, f"run {name}")
        if np.isnan(density).all():
            raise TableError(f"run {name}: no {DENSITY}; evaluate it with density among evaluate.measures")
        saw = column(side, "in_training", f"run {name}")
        if saw.isna().any():
            raise TableError(f"run {name}: {int(saw.isna().sum())} images lack in_training; evaluate the run again")
        sides.append(
            pandas.DataFrame(
                {
                    "density": density,
                    "saw": saw.astype(bool).to_numpy(),
                    "copies": numbers(side, "copies", f"run {name}"),
                },
                index=column(side, "image_id", f"run {name}").to_numpy(),
            )
        )
    contents = [set(images.loc[images["run_id"].astype(str) == name, "data_sha256"]) for name in (run, reference)]
    if contents[0] != contents[1]:
        told = [", ".join(sorted(str(content)[:12] for content in some)) for some in contents]
        raise TableError(
            f"data_sha256: run {run} has {told[0]}, run {reference} {told[1]}: densities of different sources or sizes "
            f"do not compare; name a reference of the same source"
        )
    both = sides[0].add_suffix("_run").join(sides[1].add_suffix("_reference"), how="inner")
    if both.empty:
        raise TableError(f"runs {run} and {reference} share no image: give both the same data.draw")
    return pandas.DataFrame(
        {
            "gain": both.density_run - both.density_reference,
            "run_saw": both.saw_run,
            "reference_saw": both.saw_reference,
            "copies": both.copies_run,
        }
    )


def _check_sigma_min(evals: "DataFrame", run: str, reference: str) -> None:
    """Both runs integrated from one sigma_min: a copier's density grows as -d ln sigma_min."""
    runs, sigma_min = column(evals, "run_id", "evals").astype(str).to_numpy(), numbers(evals, "sigma_min", "evals")
    found = {name: np.unique(sigma_min[(runs == name) & ~np.isnan(sigma_min)]) for name in (run, reference)}
    for name, values in found.items():
        if len(values) != 1:
            raise TableError(f"run {name}: evals has {len(values)} values of sigma_min for it; it needs exactly one")
    if not np.isclose(found[run][0], found[reference][0], rtol=1e-9):
        raise TableError(
            f"sigma_min: run {run} has {found[run][0]:g}, run {reference} {found[reference][0]:g}: their densities do "
            f"not compare; evaluate both with one evaluate.sigma_min"
        )
