"""The table of instruments against counts made by hand, and onsets in words."""

import re
from html import unescape

import numpy as np
import pandas
import pytest

from analysis.pages.instrument_sections import averaged, common_evaluations, instrument_table
from analysis.pages.onset_sections import onset_table
from analysis.table import Tables, validated
from scaling import schema

RUN = {"run_id": "a", "cell_id": "c", "seed": 0, "images_seen": 1000, "params": 1000, "n_unique": 7, "n_train": 7,
       "copies": 1, "n_holdout": 100, "n_generated": 500}  # fmt: skip


def tables(evals: list[dict], **others: list[dict]) -> Tables:
    rows = {"evals": evals, **others}
    return Tables(**{n: validated(pandas.DataFrame(rows.get(n, [])), n, where=n)[0] for n in schema.TABLES})


def cells(html: str) -> list[list[list[str]]]:
    """Rows of cells of lines; the first row holds the headings."""
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]
    return [[re.sub(r"(?<=\d)\u202f(?=\d{3})", "", unescape(cell)).split("<br>") for cell in row] for row in rows]


def column(html: str, heading: str, row: int = 0) -> list[str]:
    found = cells(html)
    return found[1 + row][[head[0] for head in found[0]].index(heading)]


def test_counts_of_replicates_are_added_and_missing_ones_are_no_zeros():
    """10 of 1000 has the interval (.005441, .018309) (measures.md K36); the third run counted nothing."""
    evals = [
        RUN | {"n_memorized": 4, "n_null_memorized": 1},
        RUN | {"run_id": "b", "n_memorized": 6, "n_null_memorized": 2},
        RUN | {"run_id": "d", "n_generated": 300},
    ]
    html, _ = instrument_table(tables(evals), 0.95)
    assert column(html, "memorized samples") == ["10/1000 · 1.0 % (0.54 % to 1.8 %)", "null 3/1000 · 0.3 %"]
    assert column(html, "runs") == ["3"]


def test_rates_stand_beside_null_and_ceiling_with_their_own_trials():
    """5 of 50 has the interval (.043476, .213602) (K36)."""
    counts = {
        "n_basin": 50, "n_basin_recovered": 5, "n_ideal_basin_recovered": 40, "n_null_basin": 20,
        "n_null_basin_recovered": 1, "n_keys": 50, "n_keys_recovered": 5, "n_ideal_keys_recovered": 45,
        "n_null_keys": 10, "n_null_keys_recovered": 2, "n_cyclic": 80, "n_cyclic_extracted": 7,
        "n_null_cyclic_extracted": 3,
    }  # fmt: skip
    html, _ = instrument_table(tables([RUN | counts]), 0.95)
    said = "5/50 · 10 % (4.3 % to 21 %)"
    assert column(html, "basin recovery") == [said, "null 1/20 · 5.0 %", "ceiling 40/50 · 80 %"]
    assert column(html, "keys") == [said, "null 2/10 · 20 %", "ceiling 45/50 · 90 %"]
    attack = column(html, "cyclic attack: images")
    assert attack[0].startswith("7/7 · 100 % (") and attack[1:] == ["null 3/100 · 3.0 %", "80 chains"]


def test_the_ceiling_of_prompts_is_that_of_the_same_prompts():
    """Both strata of context 1/2 at this evaluation; not the patch, not the evaluation before."""
    evals = [RUN | {"n_prompts": 20, "n_prompt_recovered": 4, "n_null_prompts": 20, "n_null_prompt_recovered": 0}]
    one = RUN | {"rounds": 10, "n_prompts": 10, "n_prompt_recovered": 2}
    prompts = [
        one | {"copies": 1, "context": "1/2", "n_ideal_recovered": 8},
        one | {"copies": 2, "context": "1/2", "n_ideal_recovered": 9},
        one | {"copies": 1, "context": "patch", "n_ideal_recovered": 10},
        one | {"copies": 1, "context": "1/2", "n_ideal_recovered": 10, "images_seen": 10},
    ]
    html, _ = instrument_table(tables(evals, prompts=prompts), 0.95)
    assert column(html, "prompts (half given)")[1:] == ["null 0/20 · 0 %", "ceiling 17/20 · 85 %"]
    half_missing = [prompts[0], prompts[1] | {"n_ideal_recovered": None}]
    html, _ = instrument_table(tables(evals, prompts=half_missing), 0.95)
    assert column(html, "prompts (half given)")[2] == "ceiling –"


def images(run: str, hits: tuple[int, ...], seen: int = 1000) -> list[dict]:
    base = {**RUN, "run_id": run, "images_seen": seen, "n_generated": 12, "in_training": True, "copies": 1}
    return [base | {"image_id": f"i{k}", "n_hits": h} for k, h in enumerate(hits)]


def test_chao1_says_how_many_more():
    """Hits 5 3 2 1 1 0 0: Chao1 5.5, five found (K14): .5 more a run; images of another evaluation say nothing."""
    evals = [RUN | {"run_id": r, "n_generated": 12, "n_extracted": 5} for r in "ab"]
    rows = images("a", (5, 3, 2, 1, 1, 0, 0)) + images("b", (5, 3, 2, 1, 1, 0, 0))
    html, _ = instrument_table(tables(evals, images=rows), 0.95)
    said = column(html, "extracted images")
    assert said[0].startswith("10/14 · 71 % (") and said[1] == "at least 1 more (sum of 2 runs)"
    none_once = tables([evals[0] | {"n_extracted": 4}], images=images("a", (4, 4, 2, 2, 0, 0, 0)))
    html, _ = instrument_table(none_once, 0.95)
    assert column(html, "extracted images")[1] == "none more expected"
    later = [evals[0] | {"images_seen": 2000}, evals[0], evals[1]]
    of_later = images("a", (5, 3, 2, 1, 1, 0, 0), 2000) + images("b", (5, 3, 2, 1, 1, 0, 0))
    html, _ = instrument_table(tables(later, images=of_later), 0.95)
    assert len(column(html, "extracted images")) == 1


def test_flagged_groups_are_split_into_true_and_spurious():
    html, _ = instrument_table(tables([RUN | {"n_flagged": 9, "n_flagged_true": 4, "n_spurious": 3}]), 0.95)
    assert column(html, "flagged groups") == ["9", "4 true, 3 spurious"]


def test_values_carry_their_standard_error_and_bits_are_per_parameter():
    values = {
        "membership_auc": 0.61, "membership_auc_se": 0.02, "ideal_distance": 0.9, "ideal_distance_se": 0.01,
        "ideal_distance_null": 1.2, "bits_memorized": 2000.0, "bits_memorized_se": 100.0, "bits_optimism": -500.0,
        "bits_optimism_se": 50.0, "kid": -0.01, "kid_se": 0.004, "kid_train": 0.002,
    }  # fmt: skip
    html, _ = instrument_table(tables([RUN | values]), 0.95)
    assert column(html, "membership AUC") == ["0.61 ± 0.02"]
    assert column(html, "ideal distance") == ["0.9 ± 0.01", "null 1.2"]
    assert column(html, "memorized bits a parameter") == ["2 ± 0.1"]
    assert column(html, "optimism, bits a parameter") == ["-0.5 ± 0.05"]
    assert column(html, "KID") == ["-0.01 ± 0.004", "copier 0.002"]


def test_the_interval_over_runs_is_students_and_never_narrower_than_the_errors():
    """t(1 degree, .975) = 12.7062; equal values with SE .1 each: 1.96 sqrt(.02)/2 = .1386."""
    free = (-np.inf, np.inf)
    assert averaged(np.array([0.5]), np.array([0.01]), 0.95, free) == "0.5 ± 0.01"
    assert averaged(np.array([1.0]), np.array([0.0]), 0.95, free) == "1 (one run)"  # saturated: 0 is no certainty
    assert averaged(np.array([0.5, 0.7]), np.array([0.01, 0.01]), 0.95, free) == "0.6 (-0.671 to 1.87)"
    assert averaged(np.array([0.5, 0.7]), np.full(2, np.nan), 0.95, (0.0, 1.0)) == "0.6 (0 to 1)"
    assert averaged(np.array([0.6, 0.6]), np.array([0.1, 0.1]), 0.95, free) == "0.6 (0.461 to 0.739)"
    assert averaged(np.array([0.6, 0.6]), np.full(2, np.nan), 0.95, free) == "0.6 (2 runs agree)"


def test_the_last_common_evaluation_is_the_last_that_all_runs_have():
    """Of cell c both have 1000, only b has 2000; d and g have no cell and stand alone; e and f share no evaluation."""
    one = pandas.DataFrame(
        [
            RUN, RUN | {"run_id": "b"}, RUN | {"run_id": "b", "images_seen": 2000},
            RUN | {"run_id": "d", "cell_id": None, "images_seen": 3000},
            RUN | {"run_id": "g", "cell_id": None, "images_seen": 4000},
            RUN | {"run_id": "e", "cell_id": "x"}, RUN | {"run_id": "f", "cell_id": "x", "images_seen": 7},
        ]
    )  # fmt: skip
    found = common_evaluations(one)
    seen = {("a", 1000), ("b", 1000), ("d", 3000), ("g", 4000)}
    assert set(zip(found["run_id"], found["images_seen"], strict=True)) == seen
    _, missing = instrument_table(tables(one.to_dict("records")), 0.95)
    assert any("No evaluation is common to all runs of x" in said for said in missing)


def test_what_was_not_measured_is_named_with_the_measure_to_ask_for():
    html, missing = instrument_table(tables([RUN]), 0.95)
    assert html == "" and all(said.endswith(".") for said in missing)
    for measure in ("neighbors", "basin", "prompts", "keys", "cyclic", "membership", "ideal", "density", "quality",
                    "cliques"):  # fmt: skip
        assert any(f"{measure} in evaluate.measures" in said for said in missing), measure
    html, missing = instrument_table(tables([RUN | {"n_keys": 9, "n_keys_recovered": 1}]), 0.95)
    assert column(html, "keys")[1:] == ["null –", "ceiling –"]
    assert not any("keys" in said for said in missing)


def test_names_are_escaped():
    html, _ = instrument_table(tables([RUN | {"cell_id": "<b>&", "kid": 0.1}]), 0.95)
    assert "<b>" not in html and "&lt;b&gt;&amp;" in html


CURVE = [(0, 0, 2.0), (1000, 2, 0.9), (1500, 20.5, 0.8), (2000, 73.5, 1.0)]


def onset_rows(curve=CURVE, **changed) -> pandas.DataFrame:
    """f .004 .041 .147 at 1000 1500 2000, of 1000 samples where whole (K39)."""
    rows = [
        RUN | {"images_seen": t, "n_memorized": 2 * x, "n_generated": 1000, "holdout_loss": loss,
               "holdout_loss_se": 0.01, "n_extracted": 2} | changed
        for t, x, loss in curve
    ]  # fmt: skip
    return tables(rows).evals


def test_onsets_in_numbers_and_words():
    """tau_mem 1068.0 (K39); the hold-out loss is lowest at 1500, where 41 of 1000 samples are memorized."""
    html, missing = onset_table(onset_rows(), [RUN["run_id"]], 0.95, np.random.default_rng(0))
    assert missing == []
    assert column(html, "memorizes from")[:2] == ["1068", "in 1000 to 1500"]
    tau_gen = column(html, "generalizes from")
    assert tau_gen[1] == "in 1000 to 1500"
    assert column(html, "window: ratio of the two")[1] == "0.667 to 1.5"
    assert column(html, "lowest hold-out loss at")[0] == "1500"
    assert column(html, "samples memorized there")[0].startswith("4.1 % (")
    assert column(html, "images extracted there")[0].startswith("29 % (")  # 2 of 7


@pytest.mark.parametrize(
    ("curve", "heading", "said"),
    [
        ([(1000, 0, 0.9), (2000, 0, 0.8)], "memorizes from", "not up to the end, after 2000"),
        ([(1000, 400, 0.9), (2000, 400, 0.8)], "memorizes from", "before the first evaluation, at 1000"),
        (
            [(1000, 0, 0.9), (2000, 0, 0.8)],
            "lowest hold-out loss at",
            "hold-out loss still falling at the end, after 1000",
        ),
        ([(1000, 0, 0.8), (2000, 0, 0.9)], "lowest hold-out loss at", "at the first evaluation, before 2000"),
        ([(1000, 0, 0.9), (2000, 0, 0.8)], "generalizes from", "hold-out loss still falling at the end, after 1000"),
        ([(1000, 0, 0.8), (2000, 0, 0.9)], "generalizes from", "before the first evaluation, at 1000"),
        ([(1000, 0, None), (2000, 0, None)], "generalizes from", "not measured"),
        ([(1000, 0, None), (2000, 0, None)], "window: ratio of the two", "cannot be told"),
        ([(1000, 0, 0.9), (2000, 0, 0.8)], "samples memorized there", "–"),
    ],
)
def test_every_status_has_its_words(curve, heading, said):
    html, _ = onset_table(onset_rows(curve), [RUN["run_id"]], 0.95, np.random.default_rng(0))
    assert column(html, heading) == [said]


def test_without_onsets_a_sentence_says_what_it_takes():
    rng = np.random.default_rng(0)
    decaying = onset_rows(config='{"train": {"lr_schedule": "cosine"}}')
    nothing = onset_rows(n_memorized=None, holdout_loss=None)
    for rows, said in ((onset_rows(CURVE[:2]), "evaluate.at"), (nothing, "loss and neighbors"), (decaying, "decays")):
        html, (sentence,) = onset_table(rows, [RUN["run_id"]], 0.95, rng)
        assert html == "" and said in sentence


def test_an_audited_model_without_a_table_of_images_ends_no_report():
    """Its clock is not known, and a csv of evals alone has no images: merging the two once ended the report."""
    audited = tables([RUN | {"images_seen": None, "n_memorized": 4, "n_extracted": 3}])
    instrument_table(audited, 0.95)
