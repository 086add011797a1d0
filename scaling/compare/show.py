"""What the user sees of a comparison, and the file of all its numbers."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scaling.atomic import replace_bytes
from scaling.store_errors import StoreError

SETS = {"only_a": "only A", "only_b": "only B", "both": "A and B", "holdout": "neither (hold-out)"}
BANDS = {"small": "< .2", "middle": ".2 to 1", "large": "> 1"}


def write(found: Mapping, out: Path) -> None:
    """Raises StoreError where it cannot be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(out, json.dumps(found, indent=1, allow_nan=False).encode() + b"\n")
    except OSError as error:
        raise StoreError(f"--out {out}: cannot be written ({error.strerror}); give another file") from None


def show(found: Mapping) -> None:
    """Prints what `compare` found."""
    for name, run in zip("AB", found["runs"], strict=True):
        print(
            f"{name}: run {run['run_id']}, weights at {run['images_seen']:,} images_seen, "
            f"{run['n_unique']:,} unique training images ({run['n_train']:,} with copies)"
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table(found["sets"]))
    print("distance: 0 = one function, 1 = as far from each other as each is from a linear denoiser, 2 at most; +- SE")
    if found["note"]:
        print(f"compare: {found['note']}")
    for line in sample_lines(found["samples"]):
        print(line)


def table(sets: Sequence[Mapping]) -> Table:
    """A row for each set of images, distances by band of noise levels."""
    made = Table(expand=False)
    bands = [f"distance, sigma {text}" for text in BANDS.values()]
    for name in ("trained on by", "images", *bands, "all sigma", "loss of A", "loss of B", "B - A"):
        made.add_column(name, justify="left" if name == "trained on by" else "right")
    columns = *(f"distance_{band}" for band in BANDS), "distance", "loss_a", "loss_b", "b_minus_a"
    for row in sets:
        whole = f"{row['n_images']:,}"
        images = whole if row["n_measured"] == row["n_images"] else f"{row['n_measured']:,} of {whole}"
        made.add_row(SETS[row["set"]], images, *(_with_se(row, name) for name in columns))
    return made


def sample_lines(samples: Mapping) -> list[str]:
    """What the samples of both runs from the same noise have in common, a line each."""
    lines = [f"samples: {samples['n_pairs']:,} pairs from the same noise, {samples['n_nonfinite']} more not finite"]
    if "cosine" in samples:
        lines.append(f"cosine of a pair: {_with_se(samples, 'cosine')}; null {_with_se(samples, 'cosine_null')}")
    if "note" in samples:
        lines.append(f"compare: {samples['note']}")
    if "n_same_image" in samples:
        own = [f"{samples[f'n_memorized_{r}']:,} (held-out null {samples[f'n_null_memorized_{r}']:,})" for r in "ab"]
        lines.append(f"memorized: A {own[0]}, B {own[1]}; both the same image: {samples['n_same_image']:,}")
    return lines


def _with_se(row: Mapping, name: str) -> str:
    value, se = row.get(name), row.get(f"{name}_se")
    return "" if value is None else f"{value:.3f}" + ("" if se is None else f" ± {se:.3f}")
