"""How a command presents itself (one screen of help, with an example) and answers: JSON, a mistake in one line."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

WIDTH = 100  # columns of help, in a window that has them
NAMES = 32  # of them for an option and its value


class OneScreen(argparse.RawDescriptionHelpFormatter):
    """Help whose sections have no headings."""

    def start_section(self, heading: str | None) -> None:
        """Begin a section and drop its heading."""
        super().start_section(None)  # what stands there is plain without one


def checked_seed(seed: int) -> int:
    """The seed; raises ValueError on one that no generator takes."""
    if seed < 0:
        raise ValueError(f"--seed {seed}: a seed is 0 or more")
    return seed


def answer_json(program: str, out: str | None, make: Callable[[], dict[str, Any]]) -> int:
    """Write what `make` gives to `out` (None: standard output); 0, or 2 with one line where it raises."""
    try:
        answer = make()
        if out:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(answer, indent=2, allow_nan=False, ensure_ascii=False)
            Path(out).write_text(text + "\n", encoding="utf-8")
        else:
            plain = (sys.stdout.encoding or "ascii").lower() != "utf-8"  # the gap in 40 489 as it reads, where it can
            print(json.dumps(answer, indent=2, allow_nan=False, ensure_ascii=plain))
    except (ValueError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    return 0


def command_line(module: str, arguments: str, purpose: str, example: str, more: str = "") -> argparse.ArgumentParser:
    """The parser of `python -m MODULE ARGUMENTS`; `example` is what stands after the module in its last line."""
    width = min(WIDTH, get_terminal_size().columns)
    program = f"python -m {module}"
    parser = argparse.ArgumentParser(
        prog=program,
        usage=f"{program} {arguments}",
        description=fill(purpose, width),
        epilog="\n".join([*([fill(more, width)] if more else []), f"example: {program} {example}"]),
        formatter_class=partial(OneScreen, width=width, max_help_position=NAMES),
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)  # whoever reads it knows
    return parser
