"""python -m scaling.audit MODEL_OR_SAMPLES --data SOURCE: are these samples copies of training images?

The memorization instruments on a model or a folder of samples that somebody else made, with the null from held-out
images and 95 % intervals. --out writes tables of the schema, so that analysis.report and analysis.pareto --place take
an audited model like one of a study.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scaling.audits.refusal import AuditError
from scaling.command import command_line

PURPOSE = "Are my samples training images? The memorization instruments on somebody's model or samples."
EXAMPLE = "samples/ --data folder:photos --holdout 100 --out audit"
NUMBERS = (  # option, least value, default, help
    ("samples", 2, None, "to draw from a model (default 512)"),
    ("steps", 2, None, "of its sampler (default: its own)"),
    ("batch", 1, 64, "images at once (default 64)"),
    ("basin-images", 0, 64, "from which basin recovery starts (default 64, 0: none)"),
    ("seed", 0, 0, "of the samples (default 0)"),
    ("params", 1, None, "weights of the model, where only samples are given"),
    ("images-seen", 0, None, "training images it consumed, copies included, if known"),
    ("threads", 1, None, "of the CPU (default: torch's own choice)"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where what was given cannot be audited."""
    options = parser().parse_args(argv)
    try:
        if options.out is not None and options.out.exists() and not options.out.is_dir():
            raise AuditError(f"--out {options.out}: is a file; give a folder")
        found, images = _opened(options)
        from scaling.audits.run import audit, write  # torch arrives only now
        from scaling.audits.show import show
        from scaling.audits.words import next_steps

        made = audit(found, images, options)
        lines = [*made.sentences, *(f"audit: {note}" for note in made.notes)]
        show(made.evals, made.rows["strata"], lines)
        if options.out is not None:
            write(made, options.out, options)
            print(f"audit: tables, audit.json and pictures -> {options.out}")
        print("\n".join(next_steps(made.evals["params"], None if options.out is None else str(options.out))))
    except AuditError as error:
        print(f"scaling.audit: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = command_line("scaling.audit", "MODEL_OR_SAMPLES --data SOURCE [options]", PURPOSE, EXAMPLE)
    made.add_argument("subject", metavar="MODEL_OR_SAMPLES", type=Path,
                      help="folder of images, .npz, diffusers pipeline or run folder")  # fmt: skip
    made.add_argument("--data", metavar="SOURCE",
                      help="trained on: folder:DIR, digits, idx:, parquet:, hf: (a run has its own)")  # fmt: skip
    null = made.add_mutually_exclusive_group()
    null.add_argument("--holdout", type=_whole(2), metavar="N",
                      help="its last N unique images were NOT trained on: the null")  # fmt: skip
    null.add_argument("--holdout-data", metavar="SOURCE", help="or: images that were NOT trained on")
    made.add_argument("--copies", type=Path, metavar="F.csv",
                      help="file,copies or index,copies; equal images count too")  # fmt: skip
    made.add_argument("--image-size", type=_whole(2), metavar="N",
                      help="pictures are cut to squares and resized to N")  # fmt: skip
    for name, least, default, words in NUMBERS:
        made.add_argument(f"--{name}", type=_whole(least), default=default, metavar="N", help=words)
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    made.add_argument("--features", choices=("pixels", "efficientnet_lite0"), default="pixels", metavar="NAME",
                      help="of KID and Frechet: pixels (default) or efficientnet_lite0")  # fmt: skip
    made.add_argument("--out", type=Path, metavar="DIR", help="tables, gallery, audit.json, copies.png")
    return made


def _whole(least: int):
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{text}: give a whole number from {least} on")
        return int(text)

    return read


def _opened(options: argparse.Namespace):
    """What was given and its images, read and checked without torch; raises AuditError."""
    from scaling.audits.given import given, shape
    from scaling.audits.images import audit_images, own_images
    from scaling.audits.samples import Samples
    from scaling.compare.runs import Run

    found = given(options.subject, options.image_size)
    if isinstance(found, Samples) and options.samples is not None:
        raise AuditError(f"--samples {options.samples}: {options.subject} holds samples already; leave it out")
    if isinstance(found, Run) and options.data is None:
        if options.holdout or options.holdout_data or options.copies:
            raise AuditError("--holdout, --holdout-data, --copies: a run brings its own images; give --data with them")
        return found, own_images(found)
    if options.data is None:
        raise AuditError("--data: missing; name the images that the model was trained on, as folder:DIR")
    channels, size = shape(found)
    return found, audit_images(
        options.data, channels, size, resize=options.image_size is not None, holdout=options.holdout,
        holdout_source=options.holdout_data, copies=options.copies,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
