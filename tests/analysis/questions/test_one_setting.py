"""Which runs a surface is fitted to: a width rule is one setting, half and double of it are others."""

import json

import pytest

from analysis.onsets.run_setting import width_rule
from analysis.questions.comparable import settings
from analysis.questions.observations import observations
from tests.analysis.asked_study import of_rows


def rows(base, widths, exponent=-0.9, config=True):
    train = {"lr": base, "lr_width_exponent": exponent}
    return [
        {"run_id": f"{base}-{width}", "images_seen": 100, "params": 100 * width**2, "width": width, "n_unique": 64,
         "lr": base * (width / 16) ** exponent, "n_generated": 100, "n_memorized": width,
         "config": json.dumps({"train": train}) if config else None}
        for width in widths
    ]  # fmt: skip


def test_runs_of_one_width_rule_are_one_setting_and_other_rates_are_left_out():
    """Five widths at the rule, three at its double: without the rule each width at its own rate would be a setting."""
    tables = of_rows(rows(0.005, (2, 4, 8, 16, 32)) + rows(0.01, (4, 8, 16)))
    found = observations(tables, "cell")
    assert sorted(found.frame["run_id"]) == sorted(f"0.005-{width}" for width in (2, 4, 8, 16, 32))
    assert "only the 5 runs with lr 0.005 (width/16)^-0.9; 3 others left out" in found.notes


def test_without_configurations_a_rate_that_follows_the_width_is_part_of_the_size():
    assert len(observations(of_rows(rows(0.005, (2, 4, 8), config=False)), "cell").frame) == 3


def test_half_and_double_rates_are_settings_of_their_own_and_widths_are_not():
    """Two rules over the same widths: two settings, named by the rule; without configurations one."""
    label, said = settings(of_rows(rows(0.005, (2, 4, 8)) + rows(0.01, (4, 8))).evals)
    assert len(set(label)) == 2 and set(said) == {"lr 0.005 (width/16)^-0.9", "lr 0.01 (width/16)^-0.9"}
    assert len(set(settings(of_rows(rows(0.005, (2, 4, 8), config=False)).evals)[0])) == 1


@pytest.mark.parametrize(("exponent", "said"), [(-0.9, "0.005 (width/16)^-0.9"), (0.0, "0.005")])
def test_a_rule_in_words(exponent, said):
    assert set(width_rule(of_rows(rows(0.005, (2, 4), exponent)).evals)) == {said}
