"""How a command answers: JSON to a file or standard output, a mistake in one line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path


def checked_seed(seed: int) -> int:
    """The seed; raises ValueError on one that no generator takes."""
    if seed < 0:
        raise ValueError(f"--seed {seed}: a seed is 0 or more")
    return seed


def answer_json(program: str, out: str | None, make: Callable[[], dict]) -> int:
    """Write what `make` gives to `out` (None: standard output); 0, or 2 with one line where it raises."""
    try:
        answer = json.dumps(make(), indent=2, allow_nan=False)
        if out:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            Path(out).write_text(answer + "\n")
        else:
            print(answer)
    except (ValueError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    return 0
