"""How a command presents itself: a screen of help that ends with an example (analysis/command.py has the same)."""

import argparse
from functools import partial
from shutil import get_terminal_size
from textwrap import fill

WIDTH = 100  # columns of help, in a window that has them
NAMES = 32  # of them for an option and its value


class OneScreen(argparse.RawDescriptionHelpFormatter):
    """Help without headings."""

    def start_section(self, heading: str | None) -> None:
        """A section without its heading."""
        super().start_section(None)  # what stands there is plain without one


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
