"""The command that writes every figure for a paper, and what docs/figures.md promises of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from PIL import Image

from analysis import report
from analysis.figures import main
from tests.analysis.pictures.drawn_study import write_drawn

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "figures.md").read_text()
ONLY = ["recovery_by_copies", "memorized_over_training"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    return write_drawn(tmp_path_factory.mktemp("study") / "tables", sizes=(2743, 40489), levels=(5,))


@pytest.fixture(scope="module")
def written(tables, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("written") / "figures"
    assert main([str(tables), "--out", str(out), "--width", "3.35", "--bootstrap", "2", "--only", *ONLY]) == 0
    return out


def test_each_figure_has_its_formats_and_its_rows(written):
    files = {f"{name}.{kind}" for name in ONLY for kind in ("png", "svg", "pdf", "csv")} | {"captions.md"}
    assert {path.name for path in written.iterdir()} == files
    with Image.open(written / "recovery_by_copies.png") as picture:
        assert picture.width == int(3.35 * 300) and picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    rows = pandas.read_csv(written / "recovery_by_copies.csv")
    assert set(rows["drawn"]) == {"pooled", "run", "fit", "null_rate"} and rows["rate"].notna().all()


def test_captions_hold_words_and_a_command_without_a_path_of_this_machine(written, tables):
    text = (written / "captions.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.M) == ONLY
    assert text.count("\nAlternative text:\n\n    ") == 2 and "n = 4 runs" in text
    assert "python -m analysis.figures tables --out figures --only recovery_by_copies --width 3.35" in text
    assert str(tables.parent) not in text


@pytest.mark.slow
def test_list_names_what_can_be_drawn_and_writes_nothing(tables, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(tables), "--list", "--bootstrap", "2"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^losses\n    Losses over training", said, re.M)
    assert re.search(r"^not drawn: No figure against duplication_rate", said, re.M)
    assert list(tmp_path.iterdir()) == []


SMALL, LARGE = (2743, 40489), (159697,)  # sizes of the runs on digits, and of those on cifar10


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """One folder of tables with runs on two data sets, which differ in size."""
    folder = write_drawn(tmp_path_factory.mktemp("mixed") / "tables", sizes=(*SMALL, *LARGE), levels=(5,))
    evals = pandas.read_parquet(folder / "evals.parquet")
    evals.assign(dataset=evals["params"].map(lambda size: "cifar10" if size in LARGE else "digits")).to_parquet(
        folder / "evals.parquet"
    )
    return folder


@pytest.mark.slow
def test_no_figure_pools_two_data_sets(mixed, tmp_path):
    """Every figure has the name of its data set before its own, as on the page; no size of the other stands in it."""
    only = [f"{part}{name}" for part in ("cifar10-0-", "digits-1-") for name in (*ONLY, "losses")]
    words = ["--out", str(tmp_path), "--format", "svg", "--bootstrap", "2", "--only", *only]
    assert main([str(mixed), *words]) == 0
    for name in only:
        found = set(pandas.read_csv(tmp_path / f"{name}.csv")["params"].dropna().round())
        assert found == set(LARGE if name.startswith("cifar10") else SMALL), name


@pytest.fixture(scope="module")
def audited(mixed, tmp_path_factory) -> Path:
    """Tables of one model on digits from elsewhere."""
    folder = tmp_path_factory.mktemp("audited")
    evals = pandas.read_parquet(mixed / "evals.parquet")
    evals[evals["dataset"] == "digits"].tail(1).assign(run_id="guest").to_csv(folder / "evals.csv", index=False)
    return folder


@pytest.mark.slow
def test_the_figures_are_those_of_the_page_and_a_placed_model_is_in_its_data_set_alone(
    mixed, audited, tmp_path, capsys
):
    words = [str(mixed), "--place", str(audited), "--bootstrap", "2"]
    assert report.main([*words, "--out", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    capsys.readouterr()
    assert main([*words, "--list"]) == 0
    said = capsys.readouterr().out
    named = re.findall(r"^(?! |not drawn)(.*)$", said, re.M)
    assert sorted(filter(None, named)) == sorted(re.findall(r'<figure id="figure-([^"]*)"', page))
    placed = {name for name in named if "placed" in name}
    assert placed == {"digits-1-boundary_placed_holdout", "digits-1-boundary_placed_kid"}
    why = "Model guest is not placed: its data set is digits, that of the boundary cifar10."
    assert f"not drawn: cifar10: {why}" in said
    cifar10, digits = page.split('<h1 class="part"')[1:]
    assert why in cifar10 and "not placed" not in digits.split("</main>")[0]
    for column in ("holdout_loss", "kid"):
        assert f'<tr id="digits-1-placed-{column}-0">' in digits


def test_a_model_of_no_data_set_of_the_study_is_one_line(mixed, audited, tmp_path, capsys):
    evals = pandas.read_csv(audited / "evals.csv").assign(dataset="folder:photos")
    evals.to_csv(tmp_path / "evals.csv", index=False)
    for command, name in ((main, "analysis.figures"), (report.main, "analysis.report")):
        assert command([str(mixed), "--place", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"{name}: --place: no model can be placed. Model guest is not placed: its data set")
        assert error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(written, tables, tmp_path):
    command = [sys.executable, "-m", "analysis.figures", str(tables), "--out", str(tmp_path), "--width", "3.35"]
    environment = os.environ | {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"}
    subprocess.run([*command, "--bootstrap", "2", "--only", *ONLY], cwd=ROOT, env=environment, check=True)
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--out: missing"),
        (["--out", "x", "--width", "1"], "2.5 to 20 inches"),
        (["--out", "x", "--width", "nan"], "2.5 to 20 inches"),
        (["--out", "x", "--dpi", "5"], "--dpi 5 must lie in 30 to 1200"),
        (["--out", "x", "--level", "1.5"], "--level 1.5 must lie in (0, 1)"),
        (["--out", "x", "--seed", "-1"], "--seed -1"),
        (["--out", "x", "--only", "recovery_by_copie", "--bootstrap", "1"], "did you mean recovery_by_copies?"),
    ],
)
def test_a_mistake_is_one_line(options, said, tables, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(tables), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("analysis.figures: ") and said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_such_folder_is_one_line(capsys, tmp_path):
    assert main([str(tmp_path / "none"), "--list"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_worked_example_of_the_page_runs(written, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    monkeypatch.chdir(written.parent)
    scope: dict = {}
    exec(code, scope)
    pooled = scope["pooled"]
    assert list(pooled["copies"]) == [1, 2, 4, 8, 16] and (pooled["params"] == 40489).all()
    assert Path("figures/my_recovery.pdf").read_bytes().startswith(b"%PDF")
    Path("figures/my_recovery.pdf").unlink()


def test_the_page_explains_every_column_and_kind_of_row(plain_columns):
    for name in plain_columns:
        assert f"`{name}`" in PAGE, name


@pytest.fixture
def plain_columns(tables) -> set[str]:
    """Every column and every value of `drawn` of all figures."""
    from analysis.table import load
    from tests.analysis.pictures.drawn_study import drawn_figures

    data = [figure.data for figure in drawn_figures(load(tables), []).values()]
    return {name for rows in data for name in (*rows.columns, *rows["drawn"].unique())} | {"drawn", "fit"}
