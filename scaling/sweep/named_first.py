"""`--first FILE.json`: cells to run first, as `python -m analysis.ask TABLES next --out FILE.json` names them.

The file is that answer, or a list of its rows. A row names runs by `run_id`, by the answer's columns (`params`,
`images_seen`, `plan`: "n_unique 128, copies 1 to 8"), or by configuration keys ("model.width": 8); all of it must fit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from scaling.config import ConfigError, keys
from scaling.limits import Refused, parse_json, read_bytes
from scaling.sweep.plan import Planned

LARGEST = 10**7  # bytes of the file
COLUMNS = ("params", "images_seen", "plan")
SHOWN = 3  # rows that name no cell of the sweep, told in full


def named_first(path: Path, planned: Sequence[Planned]) -> tuple[list[int], list[str]]:
    """Positions of the named cells that are not done, one of each row before the others; and what to tell of the rest.

    Raises ConfigError on a file that names nothing.
    """
    rows = read_rows(path)
    fitting = [[at for at, one in enumerate(planned) if _fits(row, one)] for row in rows]
    unknown = [row for row, found in zip(rows, fitting, strict=True) if not found]
    left = [[at for at in found if planned[at].state != "done"] for found in fitting]
    first = [found[0] for found in left if found]
    order = list(dict.fromkeys([*first, *(at for found in left for at in found)]))
    notes = [f"{path}: {len(order)} cells go first, named by {len(rows) - len(unknown)} of {len(rows)} rows"]
    if unknown:
        some = "; ".join(_words(row) for row in unknown[:SHOWN])
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        notes.append(f"{path}: no cell of this sweep: {some}{more}")
    return order, notes


def read_rows(path: Path) -> list[Mapping[str, object]]:
    """Raises ConfigError, one line, on what is no such file."""
    try:
        content = parse_json(read_bytes(path, LARGEST, follow=True))
    except Refused as error:
        raise ConfigError(f"--first {path}: {error}") from None
    except OSError as error:
        raise ConfigError(f"--first {path}: cannot be read ({error.strerror})") from None
    if isinstance(content, Mapping) and content.get("answerable") is False:
        raise ConfigError(f"--first {path}: it names no cells: {content.get('why')}")
    rows = content.get("rows") if isinstance(content, Mapping) else content
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ConfigError(f"--first {path}: no rows; give what `python -m analysis.ask TABLES next --out FILE` writes")
    for number, row in enumerate(rows, start=1):
        if not _named(row):
            raise ConfigError(
                f"--first {path}: row {number} names no cell; use run_id, {', '.join(COLUMNS)}, or configuration keys"
            )
    return rows


def _named(row: Mapping[str, object]) -> dict[str, object]:
    """What of a row says which cell is meant."""
    known = {"run_id", *COLUMNS, *keys()}
    return {name: value for name, value in row.items() if name in known}


def _fits(row: Mapping[str, object], planned: Planned) -> bool:
    work = planned.forecast.work
    own = {
        "run_id": planned.cell.run_id,
        "params": work.params,
        "images_seen": work.images,
        "plan": plan_words(planned),
    }
    tree = planned.cell.config.model_dump(mode="json")
    return all(_equal(value, own[name] if name in own else _leaf(tree, name)) for name, value in _named(row).items())


def plan_words(planned: Planned) -> str:
    """The training set in the words of `analysis.ask next`."""
    copies = planned.forecast.work.copies
    span = f"{copies[0]:g}" if len(copies) == 1 else f"{copies[0]:g} to {copies[-1]:g}"
    return f"n_unique {planned.forecast.work.n_unique:g}, copies {span}"


def _equal(wanted: object, own: object) -> bool:
    """Numbers as the answer rounds them (params 159697.0 is 159697)."""
    numbers = [value for value in (wanted, own) if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) == 2:
        return abs(numbers[0] - numbers[1]) <= 1e-6 * abs(numbers[1])
    return wanted == own


def _leaf(tree: Mapping[str, object], key: str) -> object:
    for name in key.split("."):
        tree = tree[name]
    return tree


def _words(row: Mapping[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in _named(row).items())
