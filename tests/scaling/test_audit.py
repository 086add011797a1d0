"""The audit of planted samples: what was planted is found, no more, and the tables go all the way to the report."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from analysis import pareto, report
from analysis.table import load
from scaling.audit import main
from scaling.data.sources import image_id
from tests.scaling.audits.planted import HELD, TRAIN, digits, planted_samples, save

COPIED = (3, 3, 3, 7, 7, 11, 20, 21, 22, 23, 40, 59)  # training images behind the planted copies


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """train (image 3 stands in it 5 times, image 7 twice), held, samples."""
    root, images = tmp_path_factory.mktemp("planted"), digits()
    save(root / "train", images[TRAIN])
    save(root / "train", [images[3]] * 4, "zz")
    save(root / "train", [images[7]], "zzz")
    save(root / "held", images[HELD])
    save(root / "samples", planted_samples(COPIED))
    return root


def audited(place: Path, out: Path, *options: str, subject: str = "samples") -> dict:
    """audit.json."""
    data = f"folder:{place / 'train'}"
    assert main([str(place / subject), "--data", data, "--out", str(out), *options]) == 0
    return json.loads((out / "audit.json").read_text())


@pytest.fixture(scope="module")
def found(place, tmp_path_factory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("found")
    return audited(place, out, "--holdout-data", f"folder:{place / 'held'}"), out


def test_every_planted_copy_is_found_and_nothing_else(found):
    evals, rows = found[0]["evals"], found[0]["samples"]
    assert (evals["n_memorized"], evals["n_generated"], evals["n_null_memorized"]) == (len(COPIED), 72, 0)
    assert [row["gap_ratio"] < 1 / 3 for row in rows] == [True] * len(COPIED) + [False] * 60
    assert [row["image_id"] for row in rows[: len(COPIED)]] == [image_id(digits()[i][None]) for i in COPIED]


def test_the_extracted_images_are_those_planted(found):
    named = {row["image"]: (row["n_hits"], row["copies"]) for row in found[0]["extracted"]}
    assert named == {
        "003.png": (3, 5), "007.png": (2, 2), **{f"{i:03}.png": (1, 1) for i in (11, 20, 21, 22, 23, 40, 59)},
    }  # fmt: skip
    assert found[0]["evals"]["n_extracted"] == 9


def test_duplicates_in_the_training_set_are_copies_and_hide_nothing(found):
    evals = found[0]["evals"]
    assert (evals["n_unique"], evals["n_train"], evals["n_duplicated"], evals["copies"]) == (60, 65, 2, 5)
    strata = {row["copies"]: (row["n_images"], row["n_extracted"], row["n_hits"]) for row in found[0]["strata"]}
    assert strata == {1: (58, 7, 7), 2: (1, 1, 2), 5: (1, 1, 3)}


def test_the_sentence_has_counts_null_and_wilson_intervals(found):
    def share(hits: int) -> str:
        interval = binomtest(hits, 72).proportion_ci(method="wilson")  # scipy's own
        return f"{100 * hits / 72:.1f} %, {100 * interval.low:.1f} to {100 * interval.high:.1f} %"

    assert found[0]["sentences"][0] == (
        f"12 of 72 samples are copies of training images ({share(12)}); against 60 held-out images the same test finds "
        f"0 ({share(0)})."
    )
    assert "more than chance" in found[0]["sentences"][1]


def test_samples_like_the_holdout_are_no_copies(place, tmp_path):
    save(tmp_path / "new", digits()[300:372])
    made = audited(place, tmp_path / "out", "--holdout-data", f"folder:{place / 'held'}", subject=str(tmp_path / "new"))
    assert made["evals"]["n_memorized"] == made["evals"]["n_null_memorized"] == 0
    high = 100 * binomtest(0, 72).proportion_ci(method="wilson").high
    assert (
        made["sentences"][1] == f"No copy was found; a share of up to {high:.1f} % of the samples cannot be excluded."
    )
    assert not (tmp_path / "out" / "copies.png").exists()


def test_samples_that_copy_held_out_images_are_counted_by_the_null(place, tmp_path):
    """The null must be searched among held-out images: copies of 10 of them are its 10 hits, and no copies of ours."""
    images = digits()
    save(tmp_path / "odd", [*images[HELD][:10], *images[300:340]])
    made = audited(place, tmp_path / "out", "--holdout-data", f"folder:{place / 'held'}", subject=str(tmp_path / "odd"))
    assert (made["evals"]["n_memorized"], made["evals"]["n_null_memorized"]) == (0, 10)


def test_holdout_of_the_source_itself(place, tmp_path):
    """Of 60 unique images the last 20 are held out: their planted copies (40, 59) are the null's, no longer ours."""
    made = audited(place, tmp_path / "out", "--holdout", "20")
    assert (made["evals"]["n_unique"], made["evals"]["n_holdout"]) == (40, 20)
    assert (made["evals"]["n_memorized"], made["evals"]["n_null_memorized"]) == (10, 2)


def test_without_a_null_it_says_so_and_leaves_the_null_empty(place, tmp_path):
    made = audited(place, tmp_path / "out")
    assert made["evals"]["n_memorized"] == 12 and "n_null_memorized" not in made["evals"]
    assert "nobody can say how many would pass by chance" in made["sentences"][0]
    assert any("no null" in note for note in made["notes"])


def test_the_same_audit_has_the_same_name_and_another_another(place, found, tmp_path):
    again = audited(place, tmp_path / "a", "--holdout-data", f"folder:{place / 'held'}")
    other = audited(place, tmp_path / "b", "--holdout", "20")
    assert again["evals"]["run_id"] == found[0]["evals"]["run_id"] != other["evals"]["run_id"]


def test_an_array_is_audited_as_its_images_are(place, found, tmp_path):
    pixels = np.stack(planted_samples(COPIED))[:, None]
    for name, array in {
        "bytes": pixels, "last": np.moveaxis(pixels, 1, 3), "unit": pixels / 255.0, "signed": pixels / 127.5 - 1,
    }.items():  # fmt: skip
        np.savez(tmp_path / f"{name}.npz", samples=array)
        made = audited(
            place, tmp_path / name, "--holdout-data", f"folder:{place / 'held'}", subject=str(tmp_path / f"{name}.npz")
        )
        for column in ("n_memorized", "n_memorized_14", "n_memorized_12", "n_calibrated", "n_extracted"):
            assert made["evals"][column] == found[0]["evals"][column], (name, column)


def test_the_picture_shows_a_pair_for_each_copy(found):
    picture = Image.open(found[1] / "copies.png").convert("L")
    assert picture.size == (8 + 6 * (2 * 64 + 8), 8 + 2 * (64 + 14 + 8))  # 12 pairs in two rows
    first = np.asarray(picture)[8:72, 8:136]
    assert np.array_equal(first[:, :64], first[:, 64:])  # the nearest pair is an exact copy


def test_tables_load_and_only_what_is_known_is_there(found):
    tables = load(found[1])
    evals = tables.evals.iloc[0]
    assert (evals.n_memorized, evals.n_unique, evals.dataset.partition(":")[0]) == (12, 60, "folder")
    for unknown in ("params", "images_seen", "seen_loss", "n_basin", "membership_auc", "epochs", "train_flops", "lr"):
        assert np.isnan(evals[unknown]), unknown
    assert evals.family is None
    assert tables.images.n_hits.sum() == 12 and len(tables.strata) == 3


def test_an_audited_model_is_placed_on_a_boundary_and_reported(found, place, tmp_path):
    """A study of two cells, of which one is better in both columns than the audited samples and one is not."""
    known = load(found[1]).evals
    cells = known.loc[[0, 0]].assign(
        run_id=["a" * 12, "b" * 12], n_memorized=[0, 50], kid=[known.kid[0] - 1, known.kid[0] + 1], params=1000
    )
    cells.to_csv(tmp_path / "study.csv", index=False)
    words = [
        str(tmp_path / "study.csv"), "--minimize", "memorized", "--rate", "memorized=n_memorized/n_generated",
        "--minimize", "kid", "--place", str(found[1] / "evals.csv"), "--out", str(tmp_path / "placed.json"),
    ]  # fmt: skip
    assert pareto.main(words) == 0
    placed = json.loads((tmp_path / "placed.json").read_text())["placed"]
    assert placed[0]["by"] == [0] and placed[0]["p_dominated"] > 0.99
    study = tmp_path / "study"
    study.mkdir()
    cells.to_csv(study / "evals.csv", index=False)
    assert (
        report.main([str(study), "--place", str(found[1]), "--out", str(tmp_path / "placed"), "--bootstrap", "5"]) == 0
    )
    assert "placed model" in (tmp_path / "placed" / "report.html").read_text()
    assert (tmp_path / "placed" / "figures" / "boundary_placed_kid.csv").exists()
    assert report.main([str(found[1]), "--out", str(tmp_path / "report"), "--bootstrap", "20"]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert (tmp_path / "report" / "figures" / "attack_budget.svg").exists()
    assert "12/72" in page and "nan" not in page.lower().split("<table", 1)[1].split("</table>")[0]


def test_params_and_clock_are_taken_from_the_user(place, tmp_path):
    audited(place, tmp_path / "out", "--params", "1234", "--images-seen", "64000")
    evals = load(tmp_path / "out").evals.iloc[0]
    assert (evals.params, evals.images_seen) == (1234, 64000)


def refusal(*words: str) -> str:
    """The one line, from a process in which torch must not have been imported."""
    code = (
        "import sys; from scaling.audit import main; code = main(sys.argv[1:]);"
        "print('torch' in sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "False\n", done
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("scaling.audit: "), done.stderr
    return done.stderr


def test_refusals_come_before_torch(place, tmp_path):
    (tmp_path / "empty").mkdir()
    data = ("--data", f"folder:{place / 'train'}")
    assert "no files" in refusal(str(tmp_path / "empty"), *data)
    assert "--data: missing" in refusal(str(place / "samples"))


@pytest.fixture
def refused(place, capsys):
    def call(subject: Path, *words: str) -> str:
        given = words if "--data" in words else ("--data", f"folder:{place / 'train'}", *words)
        assert main([str(subject), *given]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and line.startswith("scaling.audit: ")
        return line

    return call


def test_what_cannot_be_audited_is_named(place, tmp_path, refused):
    images = digits()
    assert "1 finite sample(s)" in refused(save(tmp_path / "one", images[:1]))
    (save(tmp_path / "broken", images[:3]) / "001.png").write_bytes(b"no image")
    assert "001.png is no image" in refused(tmp_path / "broken")
    (save(tmp_path / "linked", images[:3]) / "x.png").symlink_to(tmp_path / "linked" / "001.png")
    assert "x.png is a symbolic link" in refused(tmp_path / "linked")
    save(tmp_path / "large", [np.kron(image, np.ones((2, 2), np.uint8)) for image in images[:4]])
    assert "--image-size 16" in refused(tmp_path / "large")
    assert "--image-size N" in refused(save(tmp_path / "large", images[:2], "small"))
    assert "no such file" in refused(tmp_path / "nowhere")
    (tmp_path / "weights.ckpt").write_bytes(b"x")
    assert "pickle" in refused(tmp_path / "weights.ckpt")
    twins = save(tmp_path / "twins", [images[0]] * 3)
    assert "1 unique training image(s)" in refused(place / "samples", "--data", f"folder:{twins}")
    assert "give 2 to 58" in refused(place / "samples", "--holdout", "59")
    assert "at least 2 others" in refused(place / "samples", "--holdout-data", f"folder:{place / 'train'}")
    assert "--samples 5" in refused(place / "samples", "--samples", "5")
    assert "is a file" in refused(place / "samples", "--out", str(tmp_path / "weights.ckpt"))


def test_arrays_that_are_no_samples_are_refused(tmp_path, refused):
    def line(**arrays) -> str:
        np.savez_compressed(tmp_path / "x.npz", **arrays)
        return refused(tmp_path / "x.npz")

    unit = np.zeros((4, 1, 8, 8))
    assert "[-1, 1] or [0, 1]" in line(a=unit + 2)
    assert "2 arrays (a, b)" in line(a=unit, b=unit)
    assert "wanted [S, C, H, W]" in line(a=unit[:, 0])
    assert "int64" in line(a=unit.astype(int))
    assert "only squares" in line(a=np.zeros((4, 1, 8, 6)))
    assert "0 finite sample(s)" in line(a=unit * np.nan)
    assert "only numbers and texts" in line(a=np.array([{"a": 1}]))
    assert "claim to hold" in line(a=np.zeros((2, 1, 2**13, 2**13), np.uint8))


def test_samples_that_are_equal_are_said(place, tmp_path):
    save(tmp_path / "twice", [*digits()[:5], *digits()[:5]])
    made = audited(place, tmp_path / "out", subject=str(tmp_path / "twice"))
    assert any("5 of 10 samples equal an earlier one" in note for note in made["notes"])


def test_resizing_is_asked_for_and_said(place, tmp_path):
    """Samples of twice the size, every pixel four times: cut back by means over blocks they are what they were."""
    save(tmp_path / "large", [np.kron(image, np.ones((2, 2), np.uint8)) for image in planted_samples(COPIED)])
    made = audited(place, tmp_path / "out", "--image-size", "8", subject=str(tmp_path / "large"))
    assert made["evals"]["n_memorized"] == 12
    assert "72 samples were resized to 8x8 pixels" in made["notes"]
