"""python -m scaling.compare RUN_A RUN_B [--out FILE.json]: two trained runs side by side, as functions and by samples.

What stands behind "trained on disjoint halves, two models converge to one function when they generalize, and to two
when they memorize" (Kadkhodaie et al. 2024, arXiv 2310.02557). The denoisers are asked on images that A alone, B alone,
both or neither were trained on; both samplers start from the same noise. Levels, samples and sampler are those of A's
evaluation; the last weights of each run are compared, pruned where its configuration says so.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from scaling.command import command_line
from scaling.compare.runs import open_runs
from scaling.config import ConfigError
from scaling.data.pixels import SourceError
from scaling.store_errors import StoreError

PURPOSE = "Two trained runs side by side: are their denoisers, and their samples from the same noise, one function?"


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where a run is missing or not done, or the two do not belong together."""
    parser = command_line("scaling.compare", "RUN_A RUN_B [options]", PURPOSE, "runs/0a1b2c3d4e5f runs/5f4e3d2c1b0a")
    parser.add_argument("run_a", metavar="RUN_A", type=Path, help="folder of a finished run")
    parser.add_argument("run_b", metavar="RUN_B", type=Path, help="folder of another one on the same source")
    parser.add_argument("--out", metavar="FILE.json", type=Path, help="all numbers, noise level by noise level")
    options = parser.parse_args(argv)
    try:
        a, b = open_runs(options.run_a, options.run_b)
        from scaling.compare.measure import compare  # torch arrives only now
        from scaling.compare.show import show, write

        found = compare(a, b)
        show(found)
        if options.out is not None:
            write(found, options.out)
    except (ConfigError, SourceError, StoreError) as error:
        print(f"scaling.compare: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
