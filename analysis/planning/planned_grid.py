"""The cells of a planned grid: W&B sweep parameters or short lists, whole numbers by construction, or refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil
from typing import Any

from analysis.planning.plan_fields import PlanError, choice, fields, number, whole

DESIGNS = ("none", "uniform", "spectrum")
FIRST_POINT = 100  # a count of log-spaced evaluations starts at this fraction of the run, as in training
LONG = {  # the key of a W&B sweep -> the short one
    "model.width": "width",
    "model.params": "params",
    "data.n_unique": "n_unique",
    "data.duplication.design": "design",
    "data.duplication.levels": "levels",
    "data.duplication.copies": "copies",
    "data.duplication.fraction": "fraction",
    "train.images": "images",
    "train.batch_size": "batch_size",
    "evaluate.at": "at",
    "evaluate.samples": "samples",
    "seed": "seeds",
}
OF_DESIGN = {"none": (), "uniform": ("fraction", "copies"), "spectrum": ("levels",)}


@dataclass(frozen=True)
class Cell:
    """What replicates share."""

    params: int
    width: int | None
    n_unique: int
    design: str
    strata: tuple[tuple[int, int], ...]  # (copies, unique images), ascending
    fraction: float | None
    points: tuple[int, ...]  # images_seen of its evaluations, 0 (untrained) first
    batch_size: int
    samples: int
    config: str  # canonical JSON, without the seed

    @property
    def n_train(self) -> int:
        """Training images, copies included."""
        return sum(copies * images for copies, images in self.strata)

    @property
    def images(self) -> int:
        """images_seen at the end: whole batches."""
        return self.points[-1]

    @property
    def group(self) -> str:
        """What cells that differ in size alone share."""
        return json.dumps([self.n_unique, self.design, self.strata, self.points, self.batch_size, self.samples])


def cells(grid: object, sizes: Mapping[int, int] | None, where: str = "grid") -> tuple[tuple[Cell, ...], int]:
    """Cells (each once) and number of seeds of a block, or of a list of blocks; raises PlanError."""
    blocks = [grid] if isinstance(grid, Mapping) else grid
    if not isinstance(blocks, Sequence) or isinstance(blocks, str) or not blocks:
        raise PlanError(f"{where}: {grid!r} must be a mapping of lists, or a list of such mappings")
    found: dict[Cell, None] = {}
    seeds = set()
    for k, block in enumerate(blocks):
        place = f"{where}[{k}]" if len(blocks) > 1 else where
        axes = _axes(block, place)
        seeds.add(_seeds(axes.pop("seeds"), f"{place}.seeds"))
        names = list(axes)
        for values in product(*axes.values()):
            found |= dict.fromkeys([_cell(dict(zip(names, values, strict=True)), sizes, place)])
    if len(seeds) > 1:
        raise PlanError(f"{where}: blocks of {', '.join(map(str, sorted(seeds)))} seeds; give all the same number")
    return tuple(found), seeds.pop()


def _axes(block: object, where: str) -> dict[str, list[Any]]:
    """Every short key -> its values; W&B's {value: v} and {values: [v, …]} and plain values and lists are read."""
    if not isinstance(block, Mapping):
        raise PlanError(f"{where}: {block!r} must be a mapping of lists")
    if "config" in block:
        raise PlanError(
            f"{where}: config names overlay files, whose values are not read here; "
            f"write them as a list of blocks with design, levels, copies, fraction, n_unique"
        )
    short = {}
    for key, value in block.items():
        name = LONG.get(str(key), str(key))
        if name in short:
            raise PlanError(f"{where}: {key} and its other spelling both give {name}; give one")
        if isinstance(value, Mapping):
            value = fields(value, f"{where}.{key}", {"value": (_as_is, None), "values": (_as_is, None)})
            value = value["values"] if value["values"] is not None else value["value"]
        short[name] = value
    one = lambda value, place: value if isinstance(value, list) else [value]  # noqa: E731
    spec = {name: (one, [None]) for name in dict.fromkeys(LONG.values())}
    axes = fields(short, where, spec | {"seeds": (_as_is, 1), "at": (_as_is, None)})
    axes["at"] = [axes["at"]]  # a list of points is one value
    empty = [name for name in spec if name != "seeds" and not axes[name]]
    if empty:
        raise PlanError(f"{where}.{empty[0]}: an empty list leaves no cell; give a value, or leave the key out")
    return axes


def _as_is(value: object, where: str) -> object:
    return value


def _seeds(value: object, where: str) -> int:
    """Their number: as it is, or the length of a list of different ones."""
    if isinstance(value, list):
        if not value or len(set(value)) != len(value):
            raise PlanError(f"{where}: {value!r} must list different seeds")
        return len(value)
    return whole(1)(value, where)


def _cell(values: Mapping[str, object], sizes: Mapping[int, int] | None, where: str) -> Cell:
    """One cell; keys that its design does not use are ignored, so that a block may mix designs."""
    params, width = _size(values, sizes, where)
    n_unique = whole(2)(_given(values, "n_unique", where), f"{where}.n_unique")
    design = choice(*DESIGNS)(values["design"] or "none", f"{where}.design")
    strata = _strata(design, n_unique, values, where)
    batch = whole(1)(values["batch_size"] or 64, f"{where}.batch_size")
    images = whole(1)(_given(values, "images", where), f"{where}.images")
    points = _points(values["at"] if values["at"] is not None else 6, images, batch, f"{where}.at")
    samples = whole(1)(values["samples"] or 256, f"{where}.samples")
    fraction = float(Fraction(str(values["fraction"]))) if design == "uniform" else None
    duplication = {"design": design} | {name: values[name] for name in OF_DESIGN[design]}
    config = {
        "data": {"n_unique": n_unique, "source": "simulated", "duplication": duplication},
        "model": {"family": "unet", "params": params, "width": width},
        "train": {"images": images, "batch_size": batch},
        "evaluate": {"at": list(points), "samples": samples},
    }
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return Cell(params, width, n_unique, design, strata, fraction, points, batch, samples, text)


def _given(values: Mapping[str, object], name: str, where: str) -> object:
    if values[name] is None:
        raise PlanError(f"{where}: {name} is missing; give a value or a list")
    return values[name]


def _size(values: Mapping[str, object], sizes: Mapping[int, int] | None, where: str) -> tuple[int, int | None]:
    """params and width: both from the grid's params (width from `sizes`, where it is there), or params from width."""
    if (values["params"] is None) == (values["width"] is None):
        raise PlanError(f"{where}: give either params, or width with sizes: {{WIDTH: PARAMS, …}}")
    if values["params"] is not None:
        params = whole(1)(values["params"], f"{where}.params")
        return params, {size: width for width, size in (sizes or {}).items()}.get(params)
    width = whole(1)(values["width"], f"{where}.width")
    if sizes is None or width not in sizes:
        known = ", ".join(map(str, sizes or ())) or "none"
        raise PlanError(f"{where}.width: {width} has no number of parameters; give it in sizes (there: {known})")
    return sizes[width], width


def _strata(design: str, n_unique: int, values: Mapping[str, object], where: str) -> tuple[tuple[int, int], ...]:
    """(copies, unique images) of each stratum, exact or refused."""
    if design == "none":
        return ((1, n_unique),)
    if design == "spectrum":
        levels = whole(1)(_given(values, "levels", where), f"{where}.levels")
        if n_unique % levels or levels > 27:
            near = max(n_unique // levels * levels, levels)
            raise PlanError(
                f"{where}: n_unique={n_unique} does not divide into {levels} equal strata (at most 27); "
                f"use n_unique={near} or {near + levels}"
            )
        return tuple((2**k, n_unique // levels) for k in range(levels))
    copies = whole(2)(_given(values, "copies", where), f"{where}.copies")
    number(0, 1, open_lo=True)(_decimal(_given(values, "fraction", where), where), f"{where}.fraction")
    wanted = Fraction(str(values["fraction"])) * n_unique  # str: 0.1 means 1/10, not the nearest binary number
    if wanted.denominator != 1:
        raise PlanError(
            f"{where}: fraction={values['fraction']} of n_unique={n_unique} is {float(wanted):g} images; "
            f"only whole images can be copied: use {int(wanted)}/{n_unique} or {ceil(wanted)}/{n_unique}"
        )
    rest = n_unique - int(wanted)
    return (*([(1, rest)] if rest else []), (copies, int(wanted)))


def _decimal(value: object, where: str) -> float:
    try:
        return float(Fraction(str(value)))
    except (ValueError, ZeroDivisionError):
        raise PlanError(f"{where}.fraction: {value!r} is no share; write 0.25 or 1/4") from None


def _points(at: object, images: int, batch: int, where: str) -> tuple[int, ...]:
    """images_seen of the evaluations: 0, then a list or a count of log-spaced points, whole batches, the last one."""
    last = ceil(images / batch)  # steps: a point is rounded up to a whole batch, training cannot stop inside one
    if isinstance(at, list):
        wanted = [whole(0)(point, where) for point in at]
        late = [point for point in wanted if point > images]
        if late:
            raise PlanError(f"{where}: {late[0]} lies beyond images={images}; train longer or evaluate earlier")
        steps = [ceil(point / batch) for point in wanted]
    else:
        count = whole(1)(at, where)
        ratio = FIRST_POINT ** (1 / max(count - 1, 1))
        steps = [ceil(last / ratio**back) for back in range(count)]
    return tuple(batch * step for step in sorted({0, last, *steps}))
