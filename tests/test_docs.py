"""The documentation works: its examples run as printed, its links lead somewhere, its laws are those of the code."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from analysis.formulas.law import Law
from analysis.laws import LAWS, law
from scaling.sweep.grid import expand

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = ("out/", "build/", ".venv")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[str]:
    """Every Markdown file of the repository, relative to its root."""
    folders = (
        ".",
        "docs",
        "docs/reference",
        "benchmarks",
        "benchmarks/results",
        "results/*",
        "results",
        "examples",
        "tests/*",
    )
    return sorted({str(path.relative_to(ROOT)) for folder in folders for path in ROOT.glob(f"{folder}/*.md")})


def prose(page: str) -> str:
    """The text of a page without its code blocks, inline code left in."""
    return BLOCK.sub("", (ROOT / page).read_text())


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """(language, text) of every code block, in order."""
    yield from BLOCK.findall((ROOT / page).read_text())


@cache
def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as both GitHub and mkdocs make them of plain words."""
    heads = re.findall(r"^#+ (.*)$", BLOCK.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page):
    for target in LINK.findall(prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page}: {target}"
        assert ROOT in path.resolve().parents, f"{page}: {target} leaves the repository"
        assert not anchor or anchor in anchors(path), f"{page}: {target}: no such heading"


def test_every_page_is_found_from_the_readme():
    reached, open_ = set(), {ROOT / "README.md"}
    while open_:
        page = open_.pop()
        reached.add(page)
        targets = {target.partition("#")[0] for target in LINK.findall(prose(str(page.relative_to(ROOT))))}
        linked = {(page.parent / target).resolve() for target in targets if target.endswith(".md")}
        open_ |= {path for path in linked if path.exists()} - reached
    assert {ROOT / page for page in pages() if page.startswith("docs/") and "/reference/" not in page} <= reached


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 260


def test_the_formulas_are_those_of_the_laws():
    text = (ROOT / "docs/laws.md").read_text()
    names = {"broken": ["x"], "exposure": ["images_seen", "copies"]}
    for name, entry in LAWS.items():
        found = entry if isinstance(entry, Law) else law(name, names.get(name, ["params", "copies"]))
        row = re.search(rf"^\| `{name}`[^|]*\| `(.*)` \| (.*) \|$", text, re.MULTILINE)
        assert row and row.groups() == (found.formula, ", ".join(found.parameters)), f"docs/laws.md: {name}"


def test_the_study_of_the_readme_expands(tmp_path, monkeypatch):
    """A newcomer's first file: 3 amounts of data, 4 sizes, 2 seeds."""
    monkeypatch.chdir(ROOT)
    (study,) = [text for language, text in blocks("README.md") if language == "yaml"]
    (tmp_path / "study.yaml").write_text(study)
    assert len({cell.run_id for cell in expand(tmp_path / "study.yaml").cells}) == 24


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the repository with every file and edit of docs/extending.md in it."""
    copy = tmp_path_factory.mktemp("extended")
    for package in ("scaling", "analysis"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for language, text in blocks("docs/extending.md"):
        if language == "diff":
            command = ["git", "apply", "-C1", "--whitespace=nowarn", "-"]
            applied = subprocess.run(command, input=text, text=True, cwd=copy, capture_output=True)
            assert applied.returncode == 0, f"{applied.stderr}\n{text}"
        elif language == "python" and (named := re.match(r"# ((?:scaling|analysis)/\S+\.py)\n", text)):
            assert not (copy / named[1]).exists()
            (copy / named[1]).write_text(text[named.end() :])
    return copy


CHECKS = [text.removeprefix("# check\n") for _, text in blocks("docs/extending.md") if text.startswith("# check\n")]


@pytest.mark.parametrize("check", CHECKS, ids=["source", "family", "instrument", "law"])
def test_an_extension_does_what_its_check_says(extended, tmp_path, check):
    env = os.environ | {"PYTHONPATH": str(extended), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_definition_that_the_code_cites_is_there():
    """`measures.md 2.4` in a docstring is a heading of docs/measures.md, K12 a row of its table; every row is cited."""
    text = (ROOT / "docs/measures.md").read_text()
    code = [path.read_text() for part in ("scaling", "analysis", "tests") for path in (ROOT / part).rglob("*.py")]
    cited = {section for text in code for section in re.findall(r"measures\.md (\d+(?:\.\d+)?)", text)}
    assert cited - set(re.findall(r"^##+ (\d+(?:\.\d+)?)", text, re.MULTILINE)) == set()
    answers = {answer for text in code for answer in re.findall(r"\bK\d+[a-z]?\b", text)}
    assert answers == set(re.findall(r"^\| (K\d+[a-z]?) \|", text, re.MULTILINE))


def test_the_citation_is_whole():
    """Required keys of the Citation File Format 1.2.0; version and licence as pyproject.toml has them."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert all(set(author) & {"name", "family-names"} for author in citation["authors"])
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """What `make docs` builds, elsewhere."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(place)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0 and not built.stdout.strip(), built.stderr
    return place


def test_the_site_is_whole(site):
    assert all(
        (site / page).with_suffix("").joinpath("index.html").exists() for page in pages() if "README" not in page
    )
    modules = [
        path for part in ("scaling", "analysis") for path in (ROOT / part).rglob("*.py") if path.stem != "__init__"
    ]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules}
    shown = "".join(path.read_text() for path in (site / "reference").rglob("*.html"))
    assert names - set(re.findall(r'<h2 id="([\w.]+)"', shown)) == set()


def test_the_site_fetches_nothing_from_elsewhere(site):
    """No script, style, font or picture: links that a reader follows are all that leads away."""
    fetched = r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["'](?:https?:)?//"""
    for page in site.rglob("*.html"):
        assert not re.search(fetched, page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text()), style
