"""python -m scaling.selfcheck: the instruments against known answers on this machine; exit 1 on a miss."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from scaling.command import command_line

if TYPE_CHECKING:
    import torch

    from scaling.selfcheck.table import Check

PURPOSE = "Every instrument against known answers on this machine: closed forms, simulations, a tiny trained pair."
# Each is a file beside this one with `checks(device)`, an iterable of Check.
GROUPS = ("closed_forms", "random_features", "duplicates", "instruments", "trained_pair")


def main(argv: Sequence[str] | None = None) -> int:
    """0: every check is ok; 1: some missed; 2: wrong usage."""
    options = _parser().parse_args(argv)
    from rich.console import Console

    from scaling.selfcheck.table import Printer, as_json

    try:
        device = _device(options.device)
    except ValueError as error:
        print(f"scaling.selfcheck: {error}", file=sys.stderr)
        return 2
    printer, started, made = Printer(Console(stderr=options.json)), time.monotonic(), []
    for group in [name for name in GROUPS if not options.only or name in options.only]:
        printer.group(group)
        before, first = len(made), time.monotonic()
        for check in checks_of(group, device):
            printer.show(check)
            made.append(check)
        printer.end_group(group, made[before:], time.monotonic() - first)
    seconds = time.monotonic() - started
    if options.json:
        print(json.dumps(as_json(made, seconds), indent=1, allow_nan=False))
    else:
        printer.end(made, seconds)
    return 0 if all(check.ok for check in made) else 1


def checks_of(group: str, device: "torch.device") -> Iterator["Check"]:
    """The checks of a group as they are made; one that cannot be imported or breaks off ends in a miss."""
    from scaling.selfcheck.table import failed

    try:
        yield from import_module(f"scaling.selfcheck.{group}").checks(device)
    except Exception as error:
        yield failed(group, error)


def _parser() -> argparse.ArgumentParser:
    parser = command_line("scaling.selfcheck", "[options]", PURPOSE, "--only duplicates --only closed_forms")
    parser.add_argument("--json", action="store_true", help="the table as JSON on standard output, progress on error")
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    return parser


def _device(name: str) -> "torch.device":
    """The device of this name; raises ValueError where there is none."""
    import torch  # only now: --help and a typo need no seconds

    torch.set_num_threads(1)  # tensors are small: threads that wait for each other take up to ten times as long
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError):  # torch built without CUDA asserts
        found = torch.cuda.device_count()
        raise ValueError(f"--device={name}: torch finds {found} CUDA device(s) here; use cpu") from None


if __name__ == "__main__":
    sys.exit(main())
