"""python -m scaling.export RUN --out DIR [--samples] [--push REPO [--private]]: a finished run's model for others.

DIR gets unet/ and scheduler/ in diffusers' format, pipeline.py (one file that samples as we do and needs nothing of
ours), a model card, and the configuration. Repeated, it finds the same bytes and says so.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scaling.columns import SchemaError
from scaling.command import command_line
from scaling.config import ConfigError
from scaling.limits import Refused
from scaling.store_errors import StoreError

PURPOSE = "The last measured weights of a finished run in diffusers' format, with a pipeline and a model card."
DONE, NOT_PUSHED, WRONG = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """0; 1 where the hub did not take the export; 2 on what is no exportable run, or no place for it."""
    parser = command_line("scaling.export", "RUN --out DIR [options]", PURPOSE, "runs/0a1b2c3d4e5f --out model")
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder")
    parser.add_argument(
        "--samples", action="store_true", help="with samples.png, which shows training images beside samples"
    )
    parser.add_argument("--push", metavar="REPO", help="then upload the folder's files to this model repository")
    parser.add_argument("--private", action="store_true", help="with --push: to a private repository or not at all")
    options = parser.parse_args(argv)
    if options.private and options.push is None:
        parser.error("--private says how to --push; name the repository")
    try:
        return export(options)
    except (ConfigError, Refused, SchemaError, StoreError) as error:
        print(f"scaling.export: {error}", file=sys.stderr)
        return WRONG


def export(options: argparse.Namespace) -> int:
    """Raises what `main` turns into one line."""
    from scaling.export.files import contents, refuse_place, write
    from scaling.export.measured import measured

    run = measured(options.run)
    refuse_place(options.out, options.run)
    if options.push is not None:
        from scaling.export.hub import refuse_push

        refuse_push(options.push)
    new = write(run, options.out, pictures=options.samples)
    files = contents(options.out)
    what = f"run {run.evals['run_id']} at {run.images_seen:,} images_seen"
    print(f"export: {what} -> {options.out}" if new else f"export: {what} is in {options.out} already")
    for name, content in files.items():
        print(f"  {name}  {len(content):,} bytes")
    if options.push is None:
        return DONE
    return _pushed(options, files)


def _pushed(options: argparse.Namespace, files: dict[str, bytes]) -> int:
    from scaling.export.hub import PushFailed, push

    print(f"export: uploading these {len(files)} files to {options.push}", flush=True)
    try:
        print(f"export: {push(options.out, files, options.push, private=options.private)}")
    except PushFailed as error:
        print(f"scaling.export: {error}", file=sys.stderr)
        return NOT_PUSHED
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
