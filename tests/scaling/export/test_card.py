"""The model card against the run's own records and closed forms; nothing hostile or private passes through it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from scaling.config import build
from scaling.export.__main__ import main
from scaling.identity import run_id
from scaling.schema import EVALS


@pytest.fixture(scope="module")
def card(plain) -> str:
    return (plain.out / "README.md").read_text()


@pytest.fixture(scope="module")
def last(plain) -> dict:
    return json.loads((plain.run / "evals.jsonl").read_text().splitlines()[-1])


def row(card: str, start: str) -> list[str]:
    """Cells of the one table row that starts so."""
    (found,) = [line for line in card.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def front(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_front_matter_is_that_of_a_diffusers_model_and_invents_no_licence(card):
    found = front(card)
    assert found["library_name"] == "diffusers" and "memorization" in found["tags"] and found["license"] == "other"
    assert found["license_link"].partition("#") == ("README.md", "#", "licence") and "\n## Licence\n" in card
    assert "datasets" not in found and "CC BY 4.0" in card


def test_the_plan_is_shown_stratum_by_stratum_with_exact_counts(card):
    """Three equal strata of 12 images with 1, 2, 4 copies: 28 training images, 512 / 28 = 18.29 epochs."""
    for copies, training, seen in ((1, 4, "18.29"), (2, 8, "36.57"), (4, 16, "73.14")):
        assert row(card, f"{copies} |")[:4] == [str(copies), "4", str(training), seen]
    assert row(card, "unique training images")[1] == "12" and row(card, "training images, copies")[1].startswith("28 ")
    assert row(card, "held out")[1].startswith("24 images")


def test_counts_are_the_records_with_their_null_and_wilsons_interval(card, last):
    """0 of n: Wilson's upper end is z^2 / (n + z^2); k of n: from the two roots of (p - k/n)^2 = z^2 p (1 - p) / n."""
    evals = last["evals"]
    for name, trials, null in (
        ("n_memorized", "n_generated", "n_null_memorized"),
        ("n_basin_recovered", "n_basin", "n_null_basin_recovered"),
    ):
        cells = row(card, f"`{name}`")
        assert cells[1].startswith(f"{evals[name]} of {evals[trials]} (")
        assert cells[2].startswith(f"{evals[null]} of ")
    k, n, z2 = evals["n_ideal_basin_recovered"], evals["n_basin"], 1.959964**2
    root = (z2 * k / n * (1 - k / n) / n + z2**2 / (4 * n * n)) ** 0.5
    low, high = ((k / n + z2 / (2 * n) + sign * root) / (1 + z2 / n) for sign in (-1, 1))
    assert row(card, "`n_basin_recovered`")[3] == f"{k} of {n} ({100 * low:.3g} % to {100 * high:.3g} %)"
    if evals["n_memorized"] == 0:
        assert f"0 of 24 (0 % to {100 * z2 / (24 + z2):.3g} %)" in row(card, "`n_memorized`")[1]
    assert 0 < k <= n and "`n_prompt_recovered`" not in card  # not measured: not shown, and not as 0


def test_estimates_carry_their_interval_or_say_that_none_is_known(card, last):
    value, error = last["evals"]["holdout_loss"], last["evals"]["holdout_loss_se"]
    assert row(card, "`holdout_loss`")[1] == f"{value:.4g} ({value - 1.96 * error:.4g} to {value + 1.96 * error:.4g})"
    meanings = {column.name: column.meaning for column in EVALS}
    assert meanings["holdout_loss"] in row(card, "`holdout_loss`")[0]


def test_identity_and_the_command_repeat_the_run(plain, card, last):
    for name in ("run_id", "data_sha256", "code_version", "science_version", "train_id"):
        assert str(last["evals"][name]) in card, name
    again = build(yaml.safe_load((plain.out / "training.yaml").read_text()))
    assert run_id(again) == last["evals"]["run_id"] == plain.run.name
    assert "python -m scaling.train --config training.yaml" in card


def test_labels_pruning_and_skips_are_said(labelled):
    card = (labelled.out / "README.md").read_text()
    assert "1/4 of them set to 0 by magnitude" in card and "given the class of each image" in card
    assert "trained with 3/4 of its skip tensors" in card and "is then another function" in card
    assert "class_labels=[0] * 16" in card and "`seen_loss`" not in card


def test_what_a_fold_left_out_is_not_in_the_plan(labelled):
    """Half of each stratum of 4 is left out: 2 images with 1, 2, 4 copies, 14 training images."""
    card = (labelled.out / "README.md").read_text()
    for copies in (1, 2, 4):
        assert row(card, f"{copies} |")[:4] == [str(copies), "2", str(2 * copies), f"{512 * copies / 14:.4g}"]
    assert "part 0 of 2 (split 0) of the pool left out" in row(card, "which")[1]


@pytest.mark.parametrize(
    ("source", "datasets"),
    [
        ("folder:/home/alice/<script>alert(1)</script>|secret", None),
        ("parquet:../private/`x`](javascript:1)", None),
        ("hf:owner/some_images@main", ["owner/some_images"]),
        ("fashion_mnist", ["zalando-datasets/fashion_mnist"]),
    ],
)
def test_a_source_is_named_by_its_public_name_or_not_at_all(plain, tmp_path, source, datasets):
    folder, out = Path(shutil.copytree(plain.run, tmp_path / "run")), tmp_path / "out"
    tree = yaml.safe_load((folder / "config.yaml").read_text())
    tree["data"]["source"] = source
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    assert main([str(folder), "--out", str(out)]) == 0
    card, written = (out / "README.md").read_text(), "".join(path.read_text() for path in out.glob("*.*"))
    assert front(card).get("datasets") == datasets
    for hostile in ("alice", "<script", "javascript", "private/", "secret", str(tmp_path)):
        assert hostile not in written
    place = yaml.safe_load((out / "training.yaml").read_text())["data"]["source"]
    if datasets:
        assert place == source and f"`{source}`" in row(card, "source")[1]
    else:
        kind = source.partition(":")[0]
        assert place == f"{kind}:PLACE" and f"--data.source={kind}:PLACE" in card and "whose place is not told" in card
