"""What `make docs` builds: the repository's own pages where they lie, so that their links hold, and a reference.

A page of the reference for each folder of `scaling` and `analysis`; its modules are found, so none can be forgotten.
"""

from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "*.md", "CITATION.cff", "docs/*.md", "docs/*.png", "docs/*.css", "examples/*.py", "benchmarks/*.md",
    "benchmarks/results/*.md", "results/*.md", "results/*/*.md", "results/*/*.png", "results/*/*.svg",
    "tests/reference/README.md",
)  # fmt: skip


def rooms() -> Iterator[tuple[str, list[str]]]:
    """(folder, its modules) of both packages, commands first, a folder without modules left out."""
    for package in ("analysis", "scaling"):
        for folder in sorted([ROOT / package, *(ROOT / package).rglob("*/")]):
            names = [path.stem for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
            room = ".".join(folder.relative_to(ROOT).parts)
            if names:
                yield room, [f"{room}.{name}" for name in names]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.nav = [*config.nav, {"Reference": [{room: f"reference/{room}.md"} for room, _ in rooms()]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    paths = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    where = {"dest_dir": config.site_dir, "use_directory_urls": config.use_directory_urls}
    own = [File(str(path.relative_to(ROOT)), src_dir=str(ROOT), **where) for path in paths]
    made = [
        File.generated(
            config, f"reference/{room}.md", content="\n".join([f"# {room}\n", *(f"::: {m}\n" for m in names)])
        )
        for room, names in rooms()
    ]
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *own, *made])
