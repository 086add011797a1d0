import json

import pytest

from analysis.ask import QUESTIONS, main, question

KEYS = ["question", "answerable", "value", "lo", "hi", "level", "unit", "extrapolated", "why", "rows"]
TRUE_COPIES = 16.1825  # exp((logit .05 + 11 - .6 ln 10405)/.9), the law behind the simulated study


def asked(capsys, *words: str) -> dict:
    assert main([*words]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_study_on_disk_is_asked_and_answers_the_truth(runs_folder, capsys, tmp_path):
    words = (str(runs_folder), "max_copies", "--rate", ".05", "--at", "params=10405", "--draws", "60")
    answer = asked(capsys, *words)
    assert list(answer) == KEYS and answer["question"] == "max_copies" and answer["level"] == 0.95
    assert answer["answerable"] and answer["lo"] < TRUE_COPIES < answer["hi"]
    out = tmp_path / "new" / "answer.json"
    assert main([*words, "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == answer  # and the same words give the same answer
    assert capsys.readouterr().out == ""


def test_no_answer_is_an_answer(runs_folder, capsys):
    answer = asked(capsys, str(runs_folder), "min_unique", "--draws", "20")
    assert not answer["answerable"] and answer["value"] is None
    assert "n_unique moves together with copies" in answer["why"]


def test_amount_and_fraction_of_the_study(runs_folder, capsys):
    answer = asked(capsys, str(runs_folder), "absolute_vs_fraction", "--bootstrap", "100")
    assert "with size both grow" in answer["why"]
    assert len(answer["rows"]) == 3 and all(row["lo"] < row["hi"] for row in answer["rows"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["max_copis"], "did you mean max_copies?"),
        (["max_copies", "--rate", "2"], "--rate 2: a rate lies between 0 and 1"),
        (["max_copies", "--at", "params"], "--at params: write COL=VALUE"),
        (["max_copies", "--at", "params=a"], "'a' is no number"),
        (["max_copies", "--at", "parms=3", "--draws", "20"], "did you mean params?"),
        (["max_copies", "--at", "params=-1", "--draws", "20"], "give a positive number"),
        (["max_copies", "--at", "copies=2"], "asks for it"),
        (["max_copies", "--level", "95"], "--level 95"),
        (["max_copies", "--draws", "3"], "at least 20 resamplings"),
        (["max_copies", "--response", "images"], "use stratum or cell"),
        (["max_copies", "--eval", "5"], "the runs have 2000, 8000, 32000, 128000"),
        (["absolute_vs_fraction", "--response", "cell"], "absolute_vs_fraction has no such choice"),
        (["max_copies", "--quantity", "k"], "--quantity: max_copies has no such choice"),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_one_line(runs_folder, capsys, words, says):
    assert main([str(runs_folder), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("analysis.ask: ") and says in said and said.count("\n") == 1


def test_no_tables_no_answer(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "max_copies"]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_its_function(name):
    assert callable(question(name))
