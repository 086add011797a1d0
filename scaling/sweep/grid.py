"""A W&B grid sweep file to configurations: each cell is what scaling.train would get from an agent. No torch.

The flags of a cell are the literal ones of the sweep's `command`, `--key=value` for every swept key in place of
${args}, then those of this command line. As everywhere: defaults < YAML files in order < flags.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from pydantic import ValidationError

from scaling.config import ConfigError, build, given, keys, sections, unknown_key
from scaling.fields import ExperimentConfig
from scaling.identity import canonical_section, run_id_of
from scaling.limits import Refused, printable, read_yaml
from scaling.sweep.metric import unlogged

PROGRAM = "scaling.train"
CELLS = 1_000_000
SECTIONS = ("data", "model", "train", "evaluate", "runtime")
ALSO = {"model": ("data.image_size", "train.sigma.")}  # model.params becomes the width that fits these
MACROS = {"${env}", "${interpreter}", "${program}", "python", "python3", "-m", PROGRAM, "-u"}


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    config: ExperimentConfig
    run_id: str
    label: str  # what the sweep varies, as "model.width=4 seed=0"


@dataclass(frozen=True)
class Grid:
    """What a sweep file expands to."""

    cells: list[Cell]  # in the order of the file, the first parameter outermost; one a run_id
    notes: list[str]  # what the user should know, one line each


def expand(path: Path | str, extra: Sequence[str] = ()) -> Grid:
    """The cells of a sweep file with these further flags on every cell; raises ConfigError (one line)."""
    path = Path(path)
    sweep = _read(path)
    try:
        axes = _axes(sweep["parameters"])
        before, after = _command_flags(sweep.get("command"))
        swept_files, axes = axes.get("config", [None]), {key: axes[key] for key in axes if key != "config"}
        (files_before, before), (files_after, after) = _split(before), _split([*after, *extra])
        first, last = (given(flags) if flags else {} for flags in (before, after))
        bases = [given([*files_before, *([f"--config={file}"] if file else []), *files_after]) for file in swept_files]
        if (count := prod(map(len, axes.values())) * len(swept_files)) > CELLS:
            raise ConfigError(f"parameters: {count:,} cells; a grid has up to {CELLS:,}")
        values = _as_given(axes)
        cells = [
            cell
            for file, base in zip(swept_files, bases, strict=True)
            for cell in _cells(file, axes, [base, first], values, [last])
        ]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    found = _distinct(cells)
    return Grid(found.cells, [*found.notes, *unlogged(sweep)])


def _read(path: Path) -> dict:
    """The sweep as written, checked for what only a sweep file has."""
    try:
        sweep = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a W&B sweep file") from None
    except Refused as error:
        raise ConfigError(f"{path}: {error}; give a W&B sweep file") from None
    if not isinstance(sweep, dict) or not isinstance(sweep.get("parameters"), dict):
        raise ConfigError(f"{path}: no sweep; a W&B sweep file has `method: grid` and a mapping `parameters`")
    method = sweep.get("method")
    if method in ("random", "bayes"):
        raise ConfigError(f"{path}: method: {method} is drawn by the W&B server; use `wandb sweep` and `wandb agent`")
    if method != "grid":
        raise ConfigError(f"{path}: method: {method}; use method: grid")
    if not sweep["parameters"]:
        raise ConfigError(f"{path}: empty grid; name at least one parameter with its values")
    return sweep


def _axes(parameters: Mapping[str, object], prefix: str = "") -> dict[str, list]:
    """Dotted key -> values, nested `parameters` flattened; raises ConfigError on what is no grid or no key."""
    axes: dict[str, list] = {}
    for name, entry in parameters.items():
        key = f"{prefix}{name}"
        if isinstance(entry, dict) and isinstance(entry.get("parameters"), dict):
            if key not in sections():
                raise ConfigError(f"parameters.{unknown_key(key)}")
            axes |= _axes(entry["parameters"], f"{key}.")
            continue
        if key != "config" and key not in keys():
            raise ConfigError(f"parameters.{unknown_key(key)}")
        known = {"value", "values", "distribution"}
        if not isinstance(entry, dict) or not {"value", "values"} & set(entry) or set(entry) - known:
            raise ConfigError(f"parameters.{key}: a grid takes `value`, `values` or nested `parameters`, not {entry}")
        values = entry["values"] if "values" in entry else [entry["value"]]
        if not isinstance(values, list) or not values:
            raise ConfigError(f"parameters.{key}: empty grid; values={values} gives no run")
        if key == "config" and not all(isinstance(value, str) for value in values):
            raise ConfigError(f"parameters.config: values={values}; a grid over files names them")
        axes[key] = values
    return axes


def _command_flags(command: Sequence[object] | None) -> tuple[list[str], list[str]]:
    """The literal flags of the sweep's command before and after ${args}."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    if PROGRAM not in words or words.count("${args}") != 1:
        raise ConfigError(
            f"command: {words or 'none'} is not run here; write "
            f'["${{env}}", "${{interpreter}}", "-m", "{PROGRAM}", "--config", "configs/digits.yaml", "${{args}}"]'
        )
    at = words.index("${args}")
    start = words.index(PROGRAM) + 1
    if strange := [word for word in words[:start] if word not in MACROS]:
        raise ConfigError(f"command: {strange[0]}: only {PROGRAM} is run here")
    if asking := [
        word for word in words if word in ("-h", "--help", "--help-all") or word.startswith("--print_config")
    ]:
        raise ConfigError(f"command: {asking[0]}: it trains nothing; leave it out")
    return words[start:at], words[at + 1 :]


def _split(flags: Sequence[str]) -> tuple[list[str], list[str]]:
    """--config flags, and the others."""
    files, others, flags = [], [], list(flags)
    while flags:
        flag = flags.pop(0)
        if flag == "--config" and flags:
            files.append(f"--config={flags.pop(0)}")
        else:
            (files if flag.startswith("--config=") else others).append(flag)
    return files, others


def _as_given(axes: Mapping[str, list]) -> dict[str, list[dict]]:
    """Each value as the tree that its flag gives, read from text as an agent writes it (0.1 is then 1/10).

    Parsing costs a tenth of a second, so the i-th values of all keys go through together.
    """
    trees: dict[str, list[dict]] = {key: [] for key in axes}
    for at in range(max(map(len, axes.values()), default=0)):
        asked = {key: values[at] for key, values in axes.items() if at < len(values)}
        whole = {key for key in asked if at and _whole(trees[key][0], key) and type(asked[key]) is int}
        flags = [f"--{key}={value}" for key, value in asked.items() if key not in whole]
        tree = given(flags) if flags else {}
        for key, value in asked.items():
            trees[key].append(_put(key, value) if key in whole else _branch(tree, key))
    return trees


def _whole(tree: Mapping[str, object], key: str) -> bool:
    """Whether the key was read as a whole number: then others of its values need no parsing, and seeds are many."""
    name, _, rest = key.partition(".")
    return _whole(tree[name], rest) if rest else type(tree[name]) is int


def _put(key: str, value: object) -> dict:
    name, _, rest = key.partition(".")
    return {name: _put(rest, value) if rest else value}


def _branch(tree: Mapping[str, object], key: str) -> dict:
    name, _, rest = key.partition(".")
    return {name: _branch(tree[name], rest) if rest else tree[name]}


def merged(*trees: Mapping[str, object]) -> dict:
    """Nested mappings as one, later leaves winning."""
    made: dict = {}
    for tree in trees:
        for name, value in tree.items():
            made[name] = merged(made.get(name) or {}, value) if isinstance(value, Mapping) else value
    return made


def _cells(
    file: str | None,
    axes: Mapping[str, list],
    before: Sequence[Mapping],
    values: Mapping[str, Sequence[Mapping]],
    after: Sequence[Mapping],
) -> Iterator[Cell]:
    """Every point of the grid over this overlay file.

    Cells share most of their sections, and each section is built once: of a large grid a cell takes 15 µs, not 150.
    """
    depends = [
        (name, [at for at, key in enumerate(axes) if key.startswith((f"{name}.", *ALSO.get(name, ())))])
        for name in SECTIONS
    ]
    known: dict[tuple, tuple[object, str]] = {}  # (section, positions on its axes) -> the section, its canonical JSON
    for point in product(*(range(len(axis)) for axis in axes.values())):
        label = _label(file, axes, point)
        trees = [*before, *(values[key][at] for key, at in zip(axes, point, strict=True)), *after]
        places = [(name, *[point[at] for at in own]) for name, own in depends]
        try:
            parts = [known[place] for place in places]
        except KeyError:
            config = _build(trees, label)
            for place in places:
                known.setdefault(place, (getattr(config, place[0]), canonical_section(config, place[0])))
            parts = [known[place] for place in places]
        made = {name: section for name, (section, _) in zip(SECTIONS, parts, strict=True)}
        for tree in reversed(trees):
            if "seed" in tree:
                made["seed"] = tree["seed"]
                break
        try:
            config = ExperimentConfig.model_validate(made)
        except ValidationError:  # sections that do not go together
            config = _build(trees, label)
        texts = {name: text for name, (_, text) in zip(SECTIONS, parts, strict=True) if name != "runtime"}
        yield Cell(config, run_id_of(config.seed, texts), label)


def _label(file: str | None, axes: Mapping[str, list], point: Sequence[int]) -> str:
    """What distinguishes this cell: only keys with several values."""
    parts = [f"config={Path(file).stem}"] if file else []
    parts += [f"{key}={values[at]}" for (key, values), at in zip(axes.items(), point, strict=True) if len(values) > 1]
    return printable(" ".join(parts))


def _build(trees: Sequence[Mapping[str, object]], label: str) -> ExperimentConfig:
    try:
        return build(merged(*trees))
    except ConfigError as error:
        raise ConfigError(f"{error} (cell {label})" if label else str(error)) from None


def _distinct(cells: Iterable[Cell]) -> Grid:
    """One cell a run."""
    first: dict[str, Cell] = {}
    notes = []
    for cell in cells:
        if cell.run_id in first:
            notes.append(f"{cell.label}: the same run as {first[cell.run_id].label} ({cell.run_id}); run once")
        first.setdefault(cell.run_id, cell)
    return Grid(list(first.values()), notes)
