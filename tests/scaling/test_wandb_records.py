"""Run folders made again from what W&B has; the records are hostile until they have been checked."""

import json

import pytest

from scaling.config import build
from scaling.identity import cell_id, run_id
from scaling.schema import RECORDS, SCHEMA_VERSION, SchemaError, records
from scaling.store_errors import StoreError
from scaling.wandb_history import Logged
from scaling.wandb_records import MISSING, rebuild

CONFIG = build({})
RUN = run_id(CONFIG)


def record(images_seen=0, run=RUN, **columns):
    evals = {"run_id": run, "cell_id": cell_id(CONFIG), "images_seen": images_seen, "schema_version": SCHEMA_VERSION}
    strata = [{"copies": 1, "n_images": 8}]
    return {"evals": {**evals, "science_version": 1, "data_sha256": "d", **columns}, "strata": strata}


def logged(name, *found, state="finished"):
    return Logged(name, state, [each if isinstance(each, str) else json.dumps(each) for each in found])


def rebuilt(tmp_path, *runs):
    folders, notes = rebuild("e/p/s", runs, tmp_path)
    return {folder.name: list(records(folder / RECORDS)) for folder in folders}, notes


def clock(found):
    return [each["evals"]["images_seen"] for each in found]


def test_rows_that_were_logged_again_count_once(tmp_path):
    """A run given out again that sent its records again, a second W&B run of the cell, and one that went further."""
    own = [record(at, seen_loss=1.0, wall_seconds=1.0, commit="c1") for at in (0, 64, 128)]
    later = record(64, seen_loss=1.0, wall_seconds=9.0, commit="c2")
    runs = [logged("a", own[0], own[1], own[0], later, own[2]), logged("b", *own[:2]), logged("c", *own, record(256))]
    found, notes = rebuilt(tmp_path, *runs)
    assert (list(found), clock(found[RUN]), notes) == ([RUN], [0, 64, 128, 256], [MISSING])
    assert [found[RUN][1]["evals"][name] for name in ("wall_seconds", "commit")] == [1.0, "c1"]


def test_evaluations_that_only_a_part_of_the_sessions_has_are_put_together(tmp_path):
    found, notes = rebuilt(tmp_path, logged("a", record(0), record(64)), logged("b", record(64), record(128)))
    assert (clock(found[RUN]), notes) == ([0, 64, 128], [MISSING])


def test_of_two_trainings_that_differ_one_is_taken_whole_and_said(tmp_path):
    """0 is equal (nothing is trained yet), 64 is not: the longer one, though it is the younger, and nothing of both."""
    one = [record(0, seen_loss=1.0), record(64, seen_loss=0.5)]
    two = [record(0, seen_loss=1.0), record(64, seen_loss=0.500001), record(128, seen_loss=0.4)]
    for runs in ([logged("a", *one), logged("b", *two)], [logged("a", *one, *two)]):
        found, notes = rebuilt(tmp_path / str(len(runs)), *runs)
        assert [each["evals"]["seen_loss"] for each in found[RUN]] == [1.0, 0.500001, 0.4]
        assert notes[0].startswith(f"run {RUN}: W&B runs ") and "differ in evals.seen_loss" in notes[0]


def test_a_difference_in_nested_rows_alone_is_one_too(tmp_path):
    other = {**record(0), "strata": [{"copies": 1, "n_images": 9}]}
    found, notes = rebuilt(tmp_path, logged("a", record(0)), logged("b", other))
    assert found[RUN][0]["strata"][0]["n_images"] == 8
    assert notes[0].endswith("trained it apart and differ in strata: only a is taken")


def test_trainings_on_different_images_are_refused(tmp_path):
    with pytest.raises(SchemaError, match=f"run {RUN}: W&B runs a and b trained it on different images"):
        rebuilt(tmp_path, logged("a", record(0)), logged("b", record(0, data_sha256="e")))


def test_what_is_not_finished_and_what_has_nothing_is_said(tmp_path):
    runs = [logged("a", record(0), state="running"), logged("b", state="pending"), logged("c", state="crashed")]
    _, notes = rebuilt(tmp_path, *runs)
    assert notes == [
        "1 W&B run(s) running: included as far as they are",
        "2 W&B run(s) without an evaluation are left out",
        MISSING,
    ]
    with pytest.raises(StoreError, match=r"--wandb e/p/s: none of its 1 run\(s\) has an evaluation"):
        rebuilt(tmp_path / "none", logged("b", state="pending"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no JSON", "Expecting value"),
        ("[1]", "holds no record"),
        ('{"evals": 1}', "holds no record"),
        ("[" * 100_000, "nested too deeply"),
        ('{"evals": {"kid": NaN}}', "NaN is no JSON number"),
        ("1" * 9_000_000, "9,000,000 characters"),
        ({**record(), "strata": {"copies": 1}}, "something else than rows"),
        ({**record(), "strata": [1]}, "something else than rows"),
        ({**record(), "images": []}, "images: no such table in a record"),
        (record(run="../../etc"), "no run_id"),
        (record(schema_version=SCHEMA_VERSION + 1), "update the code"),
        (record(schema_version=None), "update the code"),
        (record(images_seen=None), "images_seen is empty"),
        (record(images_seen="0"), "wanted int"),
        (record(n_memorized=3, n_generated=2), "n_memorized=3: not within"),
        (record(speed=1), "speed: no such column"),
        ({**record(), "strata": [{"copies": 1}, {"copies": 1}]}, "two rows for copies"),
        (record(seen_loss="\x1b[2J"), "seen_loss="),
    ],
)
def test_a_record_against_the_schema_is_one_line_that_names_its_run(tmp_path, text, says):
    with pytest.raises(SchemaError, match=r"^W&B run bad: ") as error:
        rebuilt(tmp_path, logged("good", record()), logged("bad", text))
    assert says in str(error.value) and str(error.value).isprintable()
    assert not list(tmp_path.iterdir())
