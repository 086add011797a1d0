import pandas
import pytest

from analysis.columns import TableError
from analysis.condition import holds, repeated_rows

FRAME = pandas.DataFrame(
    {"model": ["6 Enc, 6 Dec", "Dec-only", None], "n": [1.0, 20.0, None], "on": [True, False, True]}
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n==1", [True, False, False]),
        ("n != 1", [False, True, False]),  # what is missing fulfils nothing
        ("n<=20", [True, True, False]),
        ("n>1.5", [False, True, False]),
        ("model==6 Enc, 6 Dec", [True, False, False]),
        ("model != 'Dec-only'", [True, False, False]),
        ("on==True", [True, False, True]),
    ],
)
def test_conditions_choose_rows(text, rows):
    assert holds(FRAME, text).tolist() == rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n", "COLUMN==VALUE"),
        ("n==", "COLUMN==VALUE"),
        ("modle==x", "did you mean model"),
        ("model<3", "only == and !="),
        ("__import__('os').abort()==1", "no column"),
    ],
)
def test_other_text_is_refused_and_never_run(text, says):
    with pytest.raises(TableError, match=says):
        holds(FRAME, text)


def test_rows_that_repeat_are_counted():
    assert repeated_rows(pandas.DataFrame({"a": [1, 1, 2], "b": [3, 3, 3]})).startswith("1 rows")
    assert repeated_rows(FRAME) == ""
