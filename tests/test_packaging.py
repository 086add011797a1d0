"""The distributions, as they are built and used elsewhere: every module and page file in, the tests out."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = shutil.ignore_patterns(".*", "out", "runs", "wandb", "build", "dist", "*.egg-info", "__pycache__")
PACKAGES = ("analysis", "scaling")


def run(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel made from it; of a copy, since a build leaves files beside its sources."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "source", ignore=ELSEWHERE)
    (folder / "source/analysis/left.pyc").write_bytes(b"of another interpreter")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), cwd=folder / "source")
    return folder


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def sources() -> set[str]:
    """Every module, and what the report's page is made of."""
    modules = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    page = {ROOT / "analysis/pages/report.css", ROOT / "analysis/pages/report.js"}
    return {path.relative_to(ROOT).as_posix() for path in modules | page}


def test_the_wheel_holds_every_module_and_nothing_else(built):
    names = set(zipfile.ZipFile(only(built, "*.whl")).namelist())
    assert {name for name in names if ".dist-info/" not in name} == sources()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_metadata_name_the_python_and_the_licence(built):
    wheel = zipfile.ZipFile(only(built, "*.whl"))
    (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert "\nRequires-Python: >=3.11\n" in metadata and "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nProject-URL:" not in metadata and "\nHome-page:" not in metadata


def test_the_source_distribution_holds_what_studies_need(built):
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if name.count("/")}
    wanted = {"LICENSE", "README.md", "CITATION.cff", "CHANGELOG.md", "constraints.txt", "pyproject.toml"}
    for folder in ("configs", "sweeps", "docs", "examples", "cluster"):
        files = {path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"}
        wanted |= {path.relative_to(ROOT).as_posix() for path in files}
    assert wanted | sources() <= names
    assert not {name for name in names if name.endswith(".pyc") or name.startswith(("tests", "benchmarks", "results"))}


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target))
    run(*pip, str(only(built, "*.whl")), cwd=built)
    return target


def test_installed_elsewhere_a_command_runs(installed, tmp_path):
    where = "import analysis, scaling; print(analysis.__file__, scaling.__file__)"
    assert run(sys.executable, "-c", where, cwd=tmp_path, PYTHONPATH=str(installed)).count(str(installed)) == 2
    shown = run(sys.executable, "-m", "scaling.train", "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    assert "--config" in shown


def test_installed_elsewhere_tables_become_a_report(installed, tmp_path):
    """Its page takes style and script out of the package."""
    (tmp_path / "tables").mkdir()
    shutil.copy(ROOT / "results/learning_rate/evals.csv", tmp_path / "tables")
    command = ("-m", "analysis.report", "tables", "--out", "report", "--bootstrap", "40")
    run(sys.executable, *command, cwd=tmp_path, PYTHONPATH=str(installed), OMP_NUM_THREADS="1")
    page = (tmp_path / "report/report.html").read_text()
    for name in ("report.css", "report.js"):
        assert (ROOT / "analysis/pages" / name).read_text().strip() in page
