import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.schema import EVALS, IDENTITY, KEYS, NESTED, SCHEMA_VERSION, TABLES, SchemaError, own_columns
from scaling.tables import complete_record, complete_row, typed, write_parquet

EVAL = {"run_id": "r", "images_seen": 64, "schema_version": SCHEMA_VERSION, "n_generated": 10}


def test_a_row_has_every_column_in_order_and_what_is_missing_is_none():
    made = complete_row("evals", EVAL)
    assert list(made) == [column.name for column in EVALS]
    assert made["kid"] is None and made["n_memorized"] is None and made["images_seen"] == 64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_memorised": 1}, "evals.n_memorised: no such column"),
        ({"kid": math.nan}, "evals.kid=nan: not a number; what was not measured is None"),
        ({"kid": math.inf}, "evals.kid=inf: not a number"),
        ({"kid": np.float32("nan")}, "evals.kid=nan: not a number"),
        ({"seed": 1.5}, "evals.seed=1.5: float, wanted int"),
        ({"seed": True}, "evals.seed=True: bool, wanted int"),
        ({"attention": 1}, "evals.attention=1: int, wanted bool"),
        ({"family": 3}, "evals.family=3: int, wanted str"),
        ({"kid": "0.1"}, "evals.kid='0.1': str, wanted float"),
        ({"n_memorized": 11}, "evals.n_memorized=11: not within 0 and n_generated=10"),
        ({"n_memorized": -1}, "evals.n_memorized=-1: not within 0 and n_generated=10"),
        ({"n_basin_recovered": 1}, "evals.n_basin_recovered=1: n_basin, the number it is out of, is empty"),
        ({"run_id": None}, "evals.run_id is empty: a row needs run_id, images_seen"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(change, says):
    with pytest.raises(SchemaError, match="^" + says.replace(".", r"\.")):
        complete_row("evals", EVAL | change)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"stratum": []}, "stratum: no such table"),
        ({"strata": [{"copies": 1, "seed": 0}]}, "strata.seed: no such column"),
        ({"strata": [{"copies": 1, "n_hits": 11}]}, "strata.n_hits=11: not within 0 and n_generated=10"),
        ({"strata": [{"copies": 1}, {"copies": 1}]}, r"strata: two rows for copies = \(1,\)"),
        ({"noise_levels": [{"kind": "loss"}]}, "noise_levels.sigma is empty"),
    ],
)
def test_nested_rows_are_checked_with_the_identity_of_their_record(record, says):
    with pytest.raises(SchemaError, match=f"^{says}"):
        complete_record({"evals": EVAL, **record})


def test_numpy_scalars_and_whole_floats_are_taken():
    made = complete_row("evals", EVAL | {"n_memorized": np.int64(3), "kid": 1, "attention": np.bool_(True)})
    assert (made["n_memorized"], made["kid"], made["attention"]) == (3, 1.0, True)
    assert [type(made[name]) for name in ("n_memorized", "kid", "attention")] == [int, float, bool]


KINDS = {
    int: st.integers(0, 10),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=5),
    bool: st.booleans(),
}


@st.composite
def row(draw, columns, **fixed):
    """A few of the columns filled in, each count out of a number that is at least as large."""
    chosen = draw(st.lists(st.sampled_from([c for c in columns if c.name not in fixed]), max_size=6, unique=True))
    made = {column.name: draw(KINDS[column.type]) for column in chosen} | fixed
    return made | {column.trials: 10 for column in chosen if column.trials and column.trials != "n_generated"}


@st.composite
def records(draw):
    record = {"evals": draw(row(EVALS, **EVAL))}
    for table in NESTED:
        own = own_columns(table)
        keys = {c.name: KINDS[c.type] for c in own if c.name in KEYS[table]}
        wanted = draw(st.lists(st.tuples(*keys.values()), max_size=2, unique=True))
        record[table] = [draw(row(own, **dict(zip(keys, key, strict=True)))) for key in wanted]
    return record


@settings(max_examples=40, deadline=None)
@given(record=records())
def test_a_record_survives_json_and_parquet(record):
    """What complete_record lets through is the same after a round trip through a line and through arrow."""
    made = complete_record(record)
    assert complete_record(json.loads(json.dumps(made, allow_nan=False))) == made
    assert typed("evals", [made["evals"]]).to_pylist() == [made["evals"]]
    identity = {column.name: made["evals"][column.name] for column in IDENTITY}
    for table in NESTED:
        rows = [{**identity, **row} for row in made[table]]
        assert typed(table, rows).to_pylist() == rows


def test_a_table_without_rows_keeps_its_typed_columns(tmp_path):
    import pandas as pd

    for table, columns in TABLES.items():
        write_parquet(tmp_path / "t.parquet", typed(table, []))
        read = pd.read_parquet(tmp_path / "t.parquet")
        assert list(read.columns) == [column.name for column in columns] and len(read) == 0


def test_missing_counts_stay_missing_and_whole_in_files(tmp_path):
    import pandas as pd

    rows = [complete_row("evals", EVAL | {"n_memorized": n}) for n in (3, None)]
    write_parquet(tmp_path / "t.parquet", typed("evals", rows))
    read = pd.read_parquet(tmp_path / "t.parquet", dtype_backend="numpy_nullable")
    assert read.n_memorized[0] == 3 and pd.isna(read.n_memorized[1])
