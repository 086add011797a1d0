"""A W&B grid sweep file to configurations: each cell is what scaling.train would get from an agent. No torch.

The flags of a cell are the literal ones of the sweep's `command`, `--key=value` for every swept key in place of
${args}, then those of this command line. As everywhere: defaults < YAML files in order < flags.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml

from scaling.config import ConfigError, build, given, keys, run_id, sections, unknown_key
from scaling.fields import ExperimentConfig

PROGRAM = "scaling.train"
MACROS = {"${env}", "${interpreter}", "${program}", "python", "python3", "-m", PROGRAM, "-u"}


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    config: ExperimentConfig
    run_id: str
    label: str  # what the sweep varies, as "model.width=4 seed=0"


@dataclass(frozen=True)
class Grid:
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
        values = _as_given(axes)
        cells = [
            _cell(merged(base, first, *(values[key][at] for key, at in zip(axes, point, strict=True)), last),
                  _label(file, axes, point))
            for file, base in zip(swept_files, bases, strict=True)
            for point in product(*(range(len(axis)) for axis in axes.values()))
        ]  # fmt: skip
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return _distinct(cells)


def _read(path: Path) -> dict:
    """The sweep as written, checked for what only a sweep file has."""
    try:
        sweep = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read ({why}); give a W&B sweep file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no YAML ({' '.join(str(error).split())})") from None
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
        if isinstance(entry, dict) and "parameters" in entry:
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
        axes[key] = values
    return axes


def _command_flags(command: Sequence[object] | None) -> tuple[list[str], list[str]]:
    """The literal flags of the sweep's command before and after ${args}."""
    words = [str(word) for word in command or []]
    if PROGRAM not in words or words.count("${args}") != 1:
        raise ConfigError(
            f"command: {words or 'none'} is not run here; write "
            f'["${{env}}", "${{interpreter}}", "-m", "{PROGRAM}", "--config", "configs/digits.yaml", "${{args}}"]'
        )
    at = words.index("${args}")
    start = words.index(PROGRAM) + 1
    if strange := [word for word in words[:start] if word not in MACROS]:
        raise ConfigError(f"command: {strange[0]}: only {PROGRAM} is run here")
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
        tree = given([f"--{key}={values[at]}" for key, values in axes.items() if at < len(values)])
        for key in axes:
            if at < len(axes[key]):
                trees[key].append(_branch(tree, key))
    return trees


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


def _label(file: str | None, axes: Mapping[str, list], point: Sequence[int]) -> str:
    """What distinguishes this cell: only keys with several values."""
    parts = [f"config={Path(file).stem}"] if file else []
    parts += [f"{key}={axes[key][at]}" for key, at in zip(axes, point, strict=True) if len(axes[key]) > 1]
    return " ".join(parts)


def _cell(tree: Mapping[str, object], label: str) -> Cell:
    try:
        config = build(tree)
    except ConfigError as error:
        raise ConfigError(f"{error} (cell {label})" if label else str(error)) from None
    return Cell(config, run_id(config), label)


def _distinct(cells: Iterable[Cell]) -> Grid:
    """One cell a run."""
    first: dict[str, Cell] = {}
    notes = []
    for cell in cells:
        if cell.run_id in first:
            notes.append(f"{cell.label}: the same run as {first[cell.run_id].label} ({cell.run_id}); run once")
        first.setdefault(cell.run_id, cell)
    return Grid(list(first.values()), notes)
