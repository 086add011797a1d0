"""DuplicationPlan against brute force over all small requests, and the known answers K1 and K1b."""

import re
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.config import ConfigError
from scaling.data.duplication import left_out, plan
from scaling.fields import DataConfig, FoldConfig


def request(count=256, fix="n_unique", **duplication) -> DataConfig:
    return DataConfig.model_validate({fix: count, "duplication": {"fix": fix, **duplication}})


def refusal(data: DataConfig) -> str:
    with pytest.raises(ConfigError) as error:
        plan(data)
    assert "\n" not in str(error.value)
    return str(error.value)


def remedies(data: DataConfig, message: str) -> list[DataConfig]:
    """The requests that a message names after `use`, each as the given request with those keys changed."""
    found = []
    for option in message.rpartition("use ")[2].split(" or "):
        tree = data.model_dump(mode="json")
        for key, value in re.findall(r"data\.([a-z_.]+)=([^\s;]+)", option):
            section = tree["duplication"] if key.startswith("duplication.") else tree
            section[key.rpartition(".")[2]] = value if "/" in value else int(value)
        found.append(DataConfig.model_validate(tree))
    return found


@pytest.mark.parametrize(
    ("wanted", "n_duplicated", "n_unique", "n_train"),
    [
        (request(256, design="uniform", fraction=".25", copies=8), 64, 256, 704),
        (request(1024, "n_train", design="uniform", fraction=".25", copies=5), 128, 512, 1024),
        (request(256, design="spectrum", levels=8), 224, 256, 8160),
        (request(1024, "n_train", design="subset", fraction=".5", copies=64), 8, 520, 1024),
        (request(1000, "n_train", design="subset", fraction=".1", copies=100), 1, 901, 1000),
    ],
)
def test_known_answers_k1(wanted, n_duplicated, n_unique, n_train):
    made = plan(wanted)
    assert (made.n_duplicated, made.n_unique, made.n_train) == (n_duplicated, n_unique, n_train)
    assert made.rate == 1 - Fraction(n_unique, n_train)


def test_known_rates_k1():
    assert plan(request(256, design="uniform", fraction=".25", copies=8)).rate == Fraction(7, 11)
    assert float(plan(request(256, design="spectrum", levels=8)).rate) == pytest.approx(0.96863, abs=5e-6)


def test_known_refusal_k1_names_the_count_that_is_not_whole():
    data = request(1024, "n_train", design="uniform", fraction=".25", copies=8)
    message = refusal(data)
    assert message == (
        "data.duplication.fraction=1/4: uniform with 8 copies and n_train 1024 gives 93.09 duplicated images and "
        "n_unique 372.36; only whole images can be copied: use data.duplication.fraction=93/373 or "
        "data.duplication.fraction=47/183 or data.n_train=1023 or data.n_train=1034"
    )
    assert [plan(remedy).n_train for remedy in remedies(data, message)] == [1024, 1024, 1023, 1034]


def test_none_has_one_copy_of_each():
    made = plan(request(256))
    assert (made.n_train, made.rate, made.max_copies, made.strata) == (256, 0, 1, [1])


def test_a_fraction_is_read_as_decimal_text():
    assert plan(request(100, design="uniform", fraction=0.29, copies=2)).n_duplicated == 29  # int(0.29 * 100) is 28


def brute_force(design: str, fix: str, count: int, fraction: Fraction, r: int) -> tuple[int, int] | None:
    """(n, k) by trying all n and k against the definitions in measures.md 1.1."""
    for n in range(1, count + 1):
        for k in range(n + 1):
            n_train = n + k * (r - 1)
            meant = k == fraction * n if design == "uniform" else k * r == fraction * n_train
            if meant and (n if fix == "n_unique" else n_train) == count and n >= 2:
                return n, k
    return None


@pytest.mark.parametrize(("design", "fix"), [*product(["uniform", "subset"], ["n_unique", "n_train"])])
def test_two_groups_equal_brute_force_and_refusals_name_reachable_requests(design, fix):
    for count, fraction, r in product(
        (4, 9, 12, 20), {Fraction(a, b) for b in (1, 2, 3, 4, 6) for a in range(b + 1)}, (1, 2, 3, 5, 8)
    ):
        data = request(count, fix, design=design, fraction=str(fraction), copies=r)
        expected = brute_force(design, fix, count, fraction, r)
        if expected is not None:
            n, k = expected
            np.testing.assert_array_equal(plan(data).copies, [r] * k + [1] * (n - k))
        else:
            for remedy in remedies(data, refusal(data)) if "only whole" in refusal(data) else []:
                plan(remedy)


@given(
    design=st.sampled_from(["uniform", "subset"]),
    fix=st.sampled_from(["n_unique", "n_train"]),
    count=st.integers(2, 2000),
    fraction=st.fractions(0, 1, max_denominator=40),
    copies=st.integers(1, 300),
)
@settings(max_examples=300, deadline=None)
def test_a_random_request_is_exact_or_refused_with_the_nearest(design, fix, count, fraction, copies):
    data = request(count, fix, design=design, fraction=str(fraction), copies=copies)
    try:
        made = plan(data)
    except ConfigError as error:
        if "only whole" not in str(error):
            assert "leaves 1 unique" in str(error) or "leaves 0 unique" in str(error)
            return
        near = remedies(data, str(error))
        fractions = [remedy.duplication.fraction for remedy in near if getattr(remedy, fix) == count]
        assert fractions and min(fractions) < fraction
        assert len(fractions) == 1 or max(fractions) > fraction
        for remedy in near:
            plan(remedy)
        return
    assert getattr(made, fix) == count
    k = int((made.copies == copies).sum()) if copies > 1 else None
    if copies > 1:
        assert (k == fraction * made.n_unique) if design == "uniform" else (k * copies == fraction * made.n_train)


@given(
    design=st.sampled_from(["uniform", "subset"]),
    fix=st.sampled_from(["n_unique", "n_train"]),
    count=st.integers(2, 400),
    fraction=st.fractions(0, 1, max_denominator=8),
    rate=st.fractions(0, Fraction(49, 50), max_denominator=50),
)
@settings(max_examples=300, deadline=None)
def test_a_random_rate_is_reached_exactly_or_refused_with_the_nearest(design, fix, count, fraction, rate):
    data = request(count, fix, design=design, fraction=str(fraction), rate=str(rate))
    try:
        assert plan(data).rate == rate
    except ConfigError as error:
        if "leaves" in str(error):
            return
        for remedy in remedies(data, str(error)):
            assert plan(remedy).rate == remedy.duplication.rate != rate or getattr(remedy, fix) != count


def test_the_nearest_rates_are_those_of_a_search_over_all_copies():
    data = request(1024, "n_train", design="uniform", fraction=".25", rate="3/5")
    rates = []
    for copies in range(1, 1025):
        try:
            rates.append((plan(request(1024, "n_train", design="uniform", fraction=".25", copies=copies)).rate, copies))
        except ConfigError:
            continue
    wanted = Fraction(3, 5)
    below, above = max(r for r in rates if r[0] < wanted), min(r for r in rates if r[0] > wanted)
    options = " or ".join(f"data.duplication.rate={rate} ({copies} copies)" for rate, copies in (below, above))
    assert refusal(data).endswith(f"use {options}")


def test_a_rate_no_copies_reach_is_refused_with_the_largest_below():
    data = request(100, design="subset", fraction=".5", rate=".75")
    message = refusal(data)
    assert "has no such rate at any copies" in message
    assert message.endswith("use data.duplication.rate=49/99 (99 copies)")  # k = 100/(r + 1) is whole up to r = 99
    (remedy,) = remedies(data, message)
    best = plan(remedy).rate
    for copies in range(2, 400):
        try:
            assert plan(request(100, design="subset", fraction=".5", copies=copies)).rate <= best
        except ConfigError:
            continue


@pytest.mark.parametrize(("levels", "rotate"), [*product((1, 2, 5, 8), (0, 1, 3, 11))])
def test_spectrum_follows_its_definition(levels, rotate):
    n = 5 * levels
    expected = [2 ** ((i + rotate) % levels) for i in range(n)]
    assert plan(request(n, design="spectrum", levels=levels, rotate=rotate)).copies.tolist() == expected
    total = 5 * (2**levels - 1)
    assert plan(request(total, "n_train", design="spectrum", levels=levels, rotate=rotate)).copies.tolist() == expected


@pytest.mark.parametrize("fix", ["n_unique", "n_train"])
def test_a_spectrum_that_does_not_divide_names_its_neighbours(fix):
    data = request(100, fix, design="spectrum", levels=6)
    near = remedies(data, refusal(data))
    assert [getattr(remedy, fix) for remedy in near] == ([96, 102] if fix == "n_unique" else [63, 126])
    for remedy in near:
        plan(remedy)


def test_strata_stand_in_pool_order_and_must_add_up():
    levels = [[3, 4], [2, 1], [1, 9]]
    assert plan(request(6, design="strata", levels=levels)).copies.tolist() == [4, 4, 4, 1, 1, 9]
    assert plan(request(23, "n_train", design="strata", levels=levels)).n_unique == 6
    for fix, total in (("n_unique", 6), ("n_train", 23)):
        message = refusal(request(10, fix, design="strata", levels=levels))
        assert message == f"data.{fix}=10: the levels of data.duplication hold {total}; use data.{fix}={total}"


@given(rotate=st.integers(0, 10**12), fix=st.sampled_from(["n_unique", "n_train"]))
@settings(deadline=None)
def test_rotate_gives_position_i_the_copies_of_position_i_plus_rotate(rotate, fix):
    count = 12 if fix == "n_unique" else 12 + 3 * 4
    one = request(count, fix, design="uniform", fraction=".25", copies=5)
    turned = request(count, fix, design="uniform", fraction=".25", copies=5, rotate=rotate)
    plain = plan(one).copies
    assert plan(turned).copies.tolist() == [plain[(i + rotate) % len(plain)] for i in range(len(plain))]


def no_copy_lost(smaller: DataConfig, larger: DataConfig) -> bool:
    a, b = plan(smaller).copies, plan(larger).copies
    return len(a) <= len(b) and bool((a <= b[: len(a)]).all())


@given(
    n=st.integers(1, 20),
    fraction=st.integers(0, 12),
    copies=st.integers(1, 50),
    rotate=st.integers(0, 300),
    more=st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_uniform_takes_no_copy_away(n, fraction, copies, rotate, more):
    """In copies, rate and fraction at any rotate; in n_unique and n_train at rotate 0."""

    def uniform(n=12 * n, f=fraction, r=copies, rotate=rotate, **changed):
        duplication = {"fraction": f"{f}/12", "copies": r, "rotate": rotate, **changed}
        return request(n, design="uniform", **duplication)

    assert no_copy_lost(uniform(), uniform(r=copies + more))
    assert no_copy_lost(uniform(), uniform(f=min(12, fraction + more)))
    assert no_copy_lost(uniform(rotate=0), uniform(n=12 * (n + more), rotate=0))
    rates = [plan(uniform(r=r)).rate for r in (copies, copies + more)]
    assert no_copy_lost(*[uniform(r=None, rate=str(rate)) for rate in rates])
    totals = [plan(uniform(n=12 * size)).n_train for size in (n, n + more)]
    given_totals = [request(N, "n_train", design="uniform", fraction=f"{fraction}/12", copies=copies) for N in totals]
    assert no_copy_lost(*given_totals)


@given(
    design=st.sampled_from(["uniform", "subset"]), fix=st.sampled_from(["n_unique", "n_train"]),
    fractions=st.tuples(st.integers(0, 8), st.integers(0, 8)), copies=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    counts=st.tuples(st.integers(2, 300), st.integers(2, 300)),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_duplicated_images_are_a_prefix_whose_length_moves_as_said(design, fix, fractions, copies, counts):
    made = []
    for f, r, count in zip(fractions, copies, counts, strict=True):
        try:
            made.append(plan(request(count, fix, design=design, fraction=f"{f}/8", copies=r + 1)))
        except ConfigError:
            return
    for one in made:
        assert (one.copies[: one.n_duplicated] > 1).all() and (one.copies[one.n_duplicated :] == 1).all()
    a, b = made
    if counts[0] == counts[1] and copies[0] == copies[1] and fractions[0] <= fractions[1]:
        assert a.n_duplicated <= b.n_duplicated
    if counts[0] == counts[1] and fractions[0] == fractions[1] and copies[0] <= copies[1]:
        assert a.n_duplicated >= b.n_duplicated and (fix == "n_unique" or a.n_unique >= b.n_unique)


@given(levels=st.integers(1, 10), size=st.integers(1, 9), more=st.integers(0, 9), rotate=st.integers(0, 40))
@settings(deadline=None)
def test_a_larger_spectrum_begins_with_the_smaller(levels, size, more, rotate):
    n = levels * (size + 1)
    small = plan(request(n, design="spectrum", levels=levels, rotate=rotate)).copies
    large = plan(request(n + levels * more, design="spectrum", levels=levels, rotate=rotate)).copies
    np.testing.assert_array_equal(large[:n], small)


def test_strata_appended_leave_earlier_positions():
    small = plan(request(5, design="strata", levels=[[2, 3], [3, 1]])).copies
    large = plan(request(9, design="strata", levels=[[2, 3], [3, 1], [4, 7]])).copies
    np.testing.assert_array_equal(large[:5], small)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (request(256, design="uniform", fraction="1", copies=10**9), "at most 100,000,000"),
        (request(280, design="spectrum", levels=28), "use at most 27"),
        (request(10**9), "at most 100,000,000"),
        (request(10**9, design="uniform", fraction=".5", copies=2), "at most 100000000"),
        (request(4, "n_train", design="uniform", fraction="1", copies=4), "at least 2 are needed"),
        (request(256, design="strata", levels=[[256, 10**8]]), "at most 100,000,000"),
    ],
)
def test_plans_too_large_or_too_small_are_refused_before_they_are_made(data, part):
    assert part in refusal(data)


@given(
    copies=st.lists(st.sampled_from([1, 1, 2, 4, 8]), min_size=7, max_size=90), of=st.integers(2, 7),
    split=st.integers(0, 5), draw=st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_folds_partition_every_stratum_evenly(copies, of, split, draw):
    copies = np.array(copies)
    parts = np.array([left_out(copies, FoldConfig(index=i, of=of, split=split), draw) for i in range(of)])
    assert (parts.sum(0) == 1).all()
    for stratum in np.unique(copies):
        sizes = parts[:, copies == stratum].sum(1)
        assert sizes.max() - sizes.min() <= 1
    assert np.ptp(parts.sum(1)) <= 1


def test_folds_are_keyed_by_draw_and_split_and_nothing_leaves_without_one():
    copies = np.ones(64, np.int64)
    assert not left_out(copies, FoldConfig(), 0).any()
    first = left_out(copies, FoldConfig(index=0), 3)
    assert (first == left_out(copies, FoldConfig(index=0), 3)).all()
    assert (first != left_out(copies, FoldConfig(index=0), 4)).any()
    assert (first != left_out(copies, FoldConfig(index=0, split=1), 3)).any()
    with pytest.raises(ConfigError, match=r"data.fold.of=65: the pool has 64 images; use at most 64"):
        left_out(copies, FoldConfig(index=0, of=65), 0)
