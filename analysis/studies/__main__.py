"""python -m analysis.studies [results/STUDY …]: numbers and figures of the studies from their tables, and the pages.

Writes results/STUDY/numbers.json and results/STUDY/figures, then every quoted number of README.md, docs/ and results/.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.command import command_line
from analysis.studies.quoted import filled
from analysis.studies.study import NUMBERS, TABLES, Study

FORMATS = ("png", "svg")
PAGES = ("README.md", "docs/*.md", "results/*.md", "results/*/README.md")


def known() -> dict[str, Study]:
    """Every study that has a file of its own here, by name."""
    from analysis.studies import confound, context, counterfactual, double_descent, flush_out, memorization, prompted

    found = (memorization, double_descent, counterfactual, flush_out, confound, prompted, context)
    return {one.STUDY.name: one.STUDY for one in found}


def main(argv: Sequence[str] | None = None) -> int:
    """0; 2 where a study or its tables are not there, or a page quotes what no study gives."""
    options = _parser().parse_args(argv)
    root = options.root
    try:
        for folder in options.studies or _with_tables(root / "results"):
            make(folder)
            print(f"studies: {folder}", flush=True)
        for page in pages(root):
            text = page.read_text(encoding="utf-8")
            if (new := filled(text, numbers(root), str(page.relative_to(root)))) != text:
                page.write_text(new, encoding="utf-8")
                print(f"studies: {page.relative_to(root)} says other numbers now")
    except (ValueError, OSError) as error:
        print(f"analysis.studies: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    made = command_line(
        "analysis.studies", "[results/STUDY …] [--root DIR]",
        "Numbers and figures of the studies from their committed tables, and every page that quotes them.",
        "results/memorization",
    )  # fmt: skip
    made.add_argument("studies", nargs="*", type=Path, metavar="results/STUDY", help="(default: all)")
    made.add_argument("--root", type=Path, default=Path("."), metavar="DIR", help="of the repository (default: here)")
    return made


def _with_tables(results: Path) -> list[Path]:
    """The folders of the studies whose tables are there."""
    there = {name: results / (study.of or name) for name, study in known().items()}
    return [results / name for name, folder in there.items() if any(folder.rglob(TABLES))]


def make(folder: Path) -> None:
    """Write numbers.json and the figures of one study; raises ValueError on a folder that is none."""
    study = known().get(folder.resolve().name)
    if study is None:
        raise ValueError(f"{folder}: no study; there are {', '.join(known())}")
    from analysis.pictures.saving import save, save_data

    tables = study.tables(folder.parent)
    found = {"numbers": dict(study.numbers(tables, folder)), "tables": study.fingerprint(folder.parent)}
    folder.mkdir(exist_ok=True)
    (folder / NUMBERS).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    pictures = folder / "figures"
    pictures.mkdir(exist_ok=True)
    for figure in study.figures(tables, folder):
        save(figure, pictures, FORMATS)
        save_data(figure, pictures)


def numbers(root: Path) -> Mapping[str, str]:
    """STUDY/NAME -> text, of every numbers.json in results/."""
    return {
        f"{file.parent.name}/{name}": text
        for file in sorted((root / "results").glob(f"*/{NUMBERS}"))
        for name, text in json.loads(file.read_text(encoding="utf-8"))["numbers"].items()
    }


def pages(root: Path) -> list[Path]:
    """Every page that may quote a number."""
    return [page for pattern in PAGES for page in sorted(root.glob(pattern))]


if __name__ == "__main__":
    raise SystemExit(main())
