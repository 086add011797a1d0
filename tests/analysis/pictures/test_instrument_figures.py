"""Figures of single instruments: what is drawn from which rows, and what is said where there is nothing to draw."""

import matplotlib.pyplot
import numpy as np
import pandas
import pytest
from matplotlib.colors import to_rgb

from analysis.pictures.instrument_figures import BUILDERS, budget, noise, prompted, prompts
from analysis.pictures.instrument_plots import ENLARGED, STRIPES, striped
from analysis.plots import GREEN, VERMILION
from analysis.table import Tables, validated
from scaling import schema

RUN = {"run_id": "a", "cell_id": "c", "seed": 0, "images_seen": 1000, "params": 1000, "n_unique": 4, "n_train": 4,
       "design": "none", "n_generated": 64}  # fmt: skip


def tables(gallery=None, **rows: list[dict]) -> Tables:
    rows = {"evals": [RUN], **rows}
    frames = {name: validated(pandas.DataFrame(rows.get(name, [])), name, where=name)[0] for name in schema.TABLES}
    return Tables(**frames, gallery=gallery or {})


def words(figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def lines(axes, style: str) -> list:
    return [line for line in axes.lines if line.get_linestyle() == style and len(line.get_xdata()) > 2]


SIGMA = (0.1, 0.5, 2.0)


def levels(run: str = "a", gap: float = 0.1, **changed) -> list[dict]:
    loss = [
        RUN | {"run_id": run, "kind": "loss", "sigma": s, "seen_loss": 0.5, "seen_loss_se": 0.03,
               "holdout_loss": 0.5 + gap * k, "holdout_loss_se": 0.04, "ideal_distance": 0.2 * k} | changed
        for k, s in enumerate(SIGMA)
    ]  # fmt: skip
    return loss + [
        RUN | {"run_id": run, "kind": "sampler", "sigma": s, "trajectory_distance": 1 + s} | changed
        for s in (*SIGMA, 80)
    ]


def test_the_gap_is_the_mean_of_runs_with_both_errors_in_its_band():
    """Two runs with gaps 0 .1 .2 and 0 .3 .6: mean 0 .2 .4; SE of each .05, of the mean .05/sqrt 2, times 1.96."""
    (found,) = noise(tables(noise_levels=levels() + levels("b", gap=0.3)), 0.95)
    gap, ideal, path = found.figure.axes
    (mean,) = [line for line in gap.lines if line.get_marker() != "None"]
    np.testing.assert_allclose(mean.get_xdata(), SIGMA)
    np.testing.assert_allclose(mean.get_ydata(), [0, 0.2, 0.4], atol=1e-12)
    band = gap.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-1.96 * 0.05 / np.sqrt(2), abs=1e-4)
    faint = [line for line in gap.lines if line.get_alpha() == 0.4]
    assert len(faint) == 2
    assert ideal.get_xscale() == gap.get_xscale() == path.get_xscale() == "log"
    (path_mean,) = [line for line in path.lines if line.get_marker() != "None"]
    np.testing.assert_allclose(path_mean.get_ydata(), [1.1, 1.5, 3.0, 81.0])
    assert "n = 2 runs" in found.caption and "95 %" in found.caption and "null is 0" in found.caption


def test_only_measured_panels_are_drawn():
    only = levels(ideal_distance=None, trajectory_distance=None)
    (found,) = noise(tables(noise_levels=only), 0.95)
    assert len(found.figure.axes) == 1
    assert "hold-out minus seen loss" in words(found.figure) and "ideal denoiser" not in words(found.figure)


def test_lines_are_what_varies_most_at_one_value_of_the_other():
    """Three n_unique at params 1000 and one run at 9000: three lines, the run at 9000 left out and said."""
    rows = [r for n in (4, 8, 16) for r in levels(f"n{n}", n_unique=n)] + levels("large", params=9000)
    (found,) = noise(tables(noise_levels=rows), 0.95)
    assert found.figure.legends[0].get_title().get_text() == "unique images"
    assert [text.get_text() for text in found.figure.legends[0].get_texts()] == ["4", "8", "16"]
    assert "n = 3 runs of the setting" in found.caption and "params 1\u202f000" in found.caption


def images(run: str, hits: tuple[int, ...], **changed) -> list[dict]:
    base = RUN | {"run_id": run, "in_training": True, "copies": 1} | changed
    return [base | {"image_id": f"{run}{k}", "n_hits": h} for k, h in enumerate(hits)]


def test_the_budget_ends_at_what_was_found_beside_the_copier():
    """Hits 40 2 1 0 of 64: three of four images found; the copier of 4 images finds 1 - (3/4)^b of them."""
    (found,) = budget(tables(images=images("a", (40, 2, 1, 0))), 0.95)
    (axes,) = found.figure.axes
    (seen,), (copier,) = lines(axes, "-"), lines(axes, "--")
    np.testing.assert_array_equal(seen.get_xdata(), [1, 2, 4, 8, 16, 32, 64])
    assert seen.get_ydata()[0] == pytest.approx(43 / 64 / 4) and seen.get_ydata()[-1] == pytest.approx(0.75)
    np.testing.assert_allclose(copier.get_ydata(), 1 - 0.75 ** np.array([1, 2, 4, 8, 16, 32, 64]))
    assert "n = 1 run" in found.caption and "(1 of 1)" in found.caption and "null" in found.caption
    (end,) = axes.containers
    assert end.lines[0].get_fillstyle() == "none" and not end.lines[2]  # f1 = 1: none more expected, no interval


def test_chao1_stands_at_the_end_with_its_interval_never_above_all_images():
    """Hits 3 1 1 1 2 0 0 0: S 5, f1 3, f2 1, Chao1 6.5 of 8; its upper end is beyond the 8 that there are."""
    (found,) = budget(tables(images=images("a", (3, 1, 1, 1, 2, 0, 0, 0), n_unique=8)), 0.95)
    (end,) = found.figure.axes[0].containers
    assert end.lines[0].get_xdata()[0] > 64 and end.lines[0].get_ydata()[0] == pytest.approx(6.5 / 8)
    (bar,) = end.lines[2][0].get_segments()
    assert 5 / 8 < bar[0, 1] < 6.5 / 8 and bar[1, 1] == pytest.approx(1.0)


def test_each_run_has_its_line_and_no_hit_is_a_line_at_zero():
    both = tables(evals=[RUN, RUN | {"run_id": "b"}], images=images("a", (0, 0, 0, 0)) + images("b", (9, 9, 9, 9)))
    (found,) = budget(both, 0.95)
    ends = sorted(line.get_ydata()[-1] for line in lines(found.figure.axes[0], "-"))
    assert ends == [0, 1] and "n = 2 runs" in found.caption


def test_copiers_of_unlike_training_sets_have_the_colour_of_their_run():
    evals = [RUN, RUN | {"run_id": "b", "n_unique": 8}]
    rows = images("a", (9, 1, 0, 0)) + images("b", (9, 1, 0, 0, 0, 0, 0, 0), n_unique=8)
    (found,) = budget(tables(evals=evals, images=rows), 0.95)
    axes = found.figure.axes[0]
    assert [line.get_color() for line in lines(axes, "-")] == [line.get_color() for line in lines(axes, "--")]
    assert len({line.get_color() for line in lines(axes, "--")}) == 2


def test_images_of_another_evaluation_are_said_not_raised():
    said = budget(tables(images=images("a", (1, 0, 0, 0), images_seen=5)), 0.95)
    assert isinstance(said, str) and "images_seen=5" in said


def prompt_rows(run: str = "a", **changed) -> list[dict]:
    return [
        RUN | {"run_id": run, "copies": copies, "context": context, "rounds": 10, "n_prompts": 50,
               "n_prompt_recovered": hits, "n_null_prompts": 50, "n_null_prompt_recovered": 1,
               "n_ideal_recovered": 45} | changed
        for context, some in (("patch", (2, 4, 8)), ("1/2", (5, 10, 20)), ("1/4", (0, 1, 2)))
        for copies, hits in zip((1, 2, 4), some, strict=True)
    ]  # fmt: skip


def test_prompted_recovery_has_its_interval_ceiling_and_null():
    """5 of 50: (.043476, .213602) (K36); contexts in order of what is given."""
    (found,) = prompted(tables(prompts=prompt_rows()), 0.95)
    panels = [axes for axes in found.figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == [
        "given: first 1/4 of the rows", "given: first 1/2 of the rows", "given: patch",
    ]  # fmt: skip
    (bars,) = panels[1].containers
    np.testing.assert_allclose(bars.lines[0].get_ydata().astype(float), [0.1, 0.2, 0.4])
    segment = bars.lines[2][0].get_segments()[0]
    np.testing.assert_allclose(segment[:, 1], [0.043476, 0.213602], atol=1e-5)
    (ceiling,), (null,) = lines(panels[1], "--"), lines(panels[1], ":")
    np.testing.assert_allclose(ceiling.get_ydata(), 0.9)
    np.testing.assert_allclose(null.get_ydata(), 0.02)
    for said in ("n = 1 run", "450 prompts", "10 resampling rounds", "null", "Wilson"):
        assert said in found.caption


def test_training_sets_of_unlike_size_have_each_its_ceiling():
    more = prompt_rows() + prompt_rows("b", n_unique=64, n_ideal_recovered=10)
    (found,) = prompted(tables(prompts=more), 0.95)
    ceilings = lines(found.figure.axes[0], "--")
    assert sorted(line.get_ydata()[0] for line in ceilings) == [0.2, 0.9]
    assert len({line.get_color() for line in ceilings}) == 2


def strip(recovered=(True, False), contexts=("1/2", "1/2")) -> dict[str, np.ndarray]:
    count = len(recovered)
    known = np.zeros((count, 4, 4), bool)
    known[:, :2] = True
    pixels = np.full((count, 1, 4, 4), 100, np.uint8)
    arrays = (np.array(contexts), known, pixels, pixels + 7, np.array(recovered), np.arange(1, count + 1))
    return dict(zip(schema.PROMPT_GALLERY, arrays, strict=True))


def test_prompts_show_given_completion_and_original_in_the_colour_of_the_outcome():
    (found,) = prompts(tables(gallery={"a": strip()}), 0.95)
    panels = np.array(found.figure.subfigs[0].axes).reshape(3, 2)
    given, completed, original = (row[0].images[0].get_array() for row in panels)
    assert (completed == 107).all() and (original == 100).all() and given.shape[:2] == (4 * ENLARGED, 4 * ENLARGED)
    for k, (color, word) in enumerate(((GREEN, "×1\n✓"), (VERMILION, "×2\n✗"))):
        assert panels[1, k].spines["top"].get_edgecolor()[:3] == to_rgb(color)
        assert panels[2, k].get_xlabel() == word
    assert "n = 2 prompts of 1 run;" in found.caption and "1 of them recovered" in found.alt


def test_striped_hides_exactly_what_was_not_given():
    image, known = np.arange(12, dtype=np.uint8).reshape(3, 2, 2) + 20, np.array([[True, False], [False, True]])
    found = striped(image, known)
    assert found.shape == (3, 2 * ENLARGED, 2 * ENLARGED)
    tiles = found.reshape(3, 2, ENLARGED, 2, ENLARGED).transpose(1, 3, 0, 2, 4)  # [row column C h w]
    for row, column in np.ndindex(2, 2):
        tile = tiles[row, column].reshape(3, -1)
        if known[row, column]:
            assert (tile == image[:, row, column][:, None]).all()
        else:
            assert {tuple(pixel) for pixel in tile.T} == {tuple(stripe) for stripe in STRIPES}


def test_the_runs_that_restore_most_and_least_are_shown_half_given_first():
    all_of = {"evals": [RUN | {"run_id": run} for run in "abc"]}
    contexts = ("patch", "1/4", "1/2")
    gallery = {
        "a": strip((True, False, False), contexts),
        "b": strip((True, True, True), contexts),
        "c": strip((False, False, False), contexts),
    }
    (found,) = prompts(tables(gallery, **all_of), 0.95)
    titles = [part._suptitle.get_text() for part in found.figure.subfigs]
    assert [title[:5] for title in titles] == ["run b", "run b", "run c", "run c"]
    assert [title.rsplit("given: ")[1] for title in titles] == ["first 1/2 of the rows", "patch"] * 2


def test_nothing_measured_is_a_sentence_that_names_the_measure():
    unmeasured = tables(gallery={"a": {"gallery_ratio": np.zeros(0)}})
    missing = [build(unmeasured, 0.95) for build in BUILDERS]
    assert len(missing) == 4 and all(isinstance(said, str) for said in missing)
    for measure, said in zip(("loss, ideal or trajectory", "neighbors", "prompts", "prompts"), missing, strict=True):
        assert f"ask for {measure} in evaluate.measures" in said
    unmeasured = tables(noise_levels=levels(holdout_loss=None, ideal_distance=None, trajectory_distance=None))
    assert isinstance(noise(unmeasured, 0.95), str)


def test_figures_leave_no_global_state():
    noise(tables(noise_levels=levels()), 0.95)
    assert matplotlib.pyplot.get_fignums() == []
