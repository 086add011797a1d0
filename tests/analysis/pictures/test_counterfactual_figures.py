import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure

from analysis.per_image.quadrants import axes, quadrants
from analysis.pictures.counterfactual_figures import (
    KIND_COLORS,
    figures,
    most_memorized,
    plot_against,
    plot_by_copies,
    plot_density,
    plot_kinds,
    plot_most_memorized,
    plot_quadrants,
)
from tests.analysis.pictures.test_colours import contrast_to_white, drawn_marks


@pytest.fixture
def table() -> pandas.DataFrame:
    rng, n = np.random.default_rng(0), 60
    copies = np.tile([1, 4, 16], n // 3)
    return pandas.DataFrame(
        {
            "image_id": [f"i{k:04d}" for k in range(n)],
            "copies": copies,
            "Mbar": rng.normal(size=n) + copies,
            "se": 1.0,
            "nearest_train_distance": rng.random(n),
            "distance_10": rng.random(n),
            "leverage": rng.random(n),
            "recovered": (copies > 1) * 1.0,
            "neighbor": rng.normal(size=n),
            "neighbor_se": 1.0,
            "excess": copies.astype(float),
            "excess_se": 1.0,
        }
    )


def found(table: pandas.DataFrame) -> dict:
    """What the figures read of `quadrants.summary`."""
    return {
        "level": 0.95,
        "by_copies": [{"copies": r, "mean": r, "lo": r - 0.5, "hi": r + 0.5} for r in (1, 4, 16)],
        "quadrants": quadrants(axes(table)).to_dict("records"),
        "density_axis": "distance_10",
        "kinds": {"memorized": 40},
    }


def words(figure: Figure) -> str:
    return " ".join(
        text.get_text().replace("\n", " ") for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))
    )


def test_every_point_is_drawn_with_two_standard_errors(table):
    table.loc[0, "se"], table.loc[1, "leverage"] = np.nan, np.nan
    figure = plot_against(table, "leverage", "leverage")
    (panel,) = figure.axes
    drawn = list(panel.containers)
    assert sum(len(container.lines[0].get_xdata()) for container in drawn) == 58
    assert len({container.lines[0].get_color() for container in drawn}) == 3
    assert len({container.lines[0].get_marker() for container in drawn}) == 3  # no reading by colour alone
    bar = drawn[2].lines[2][0].get_segments()[0]
    assert bar[1, 1] - bar[0, 1] == pytest.approx(4)
    assert "n = 58 images" in words(figure)


def test_means_stand_at_their_copies_with_their_interval(table):
    figure = plot_by_copies(table, found(table)["by_copies"], 0.95)
    container = figure.axes[0].containers[0]
    np.testing.assert_array_equal(container.lines[0].get_xdata(), [1, 4, 16])
    np.testing.assert_array_equal(container.lines[0].get_ydata(), [1, 4, 16])
    segments = container.lines[2][0].get_segments()
    np.testing.assert_allclose([segment[:, 1] for segment in segments], [[0.5, 1.5], [3.5, 4.5], [15.5, 16.5]])


def test_quadrants_show_every_count(table):
    counts = found(table)["quadrants"]
    figure = plot_quadrants(counts)
    shown = [int(text.get_text()) for text in figure.axes[0].texts]
    assert sorted(shown) == sorted(cell["n"] for cell in counts) and sum(shown) == 60
    assert "high score, recovered" in words(figure) and "n = 60 images" in words(figure)


def test_an_unknown_axis_is_named(table):
    counts = quadrants(axes(table.assign(leverage=np.nan))).to_dict("records")
    assert "leverage unknown" in words(plot_quadrants(counts))


def test_kinds_keep_their_colour_and_their_count(table):
    figure = plot_kinds(table)
    by_label = {line.get_label().split(" ")[0]: line for line in figure.axes[0].lines}
    for kind, color in KIND_COLORS.items():
        assert by_label[kind].get_color() == color
    assert sum(len(by_label[kind].get_xdata()) for kind in KIND_COLORS) == 60


def test_the_most_memorized_come_first_and_noise_last(table):
    """The largest score of all has a larger standard error: behind those above 2 of theirs."""
    table.loc[5, ["Mbar", "se"]] = [99.0, 90.0]
    table.loc[7, "Mbar"] = 50.0
    ids = table["image_id"].to_numpy()[:20]
    pixels = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1) * np.ones((1, 3, 4, 4), np.uint8)
    figure = plot_most_memorized(most_memorized(table, ids, count=20), ids, pixels)
    shown = [panel.images[0].get_array() for panel in figure.axes]
    below = [panel.get_xlabel() for panel in figure.axes]
    above = int((table["Mbar"][:20] > 2 * table["se"][:20]).sum())
    assert shown[0].max() == 7 and below[0].startswith("50\n")
    assert shown[above].max() == 5 and below[above].startswith("99\n± 90")


def test_inliers_are_shaded_and_high_scores_full(table):
    """The central 90 % of 101 densities 0 … 100 are 5 to 95; images 1 and 2 alone exceed 2 standard errors."""
    n = 101
    many = pandas.DataFrame({"copies": 1, "Mbar": 0.5, "se": 1.0, "mean_in": np.arange(n, dtype=float)}, range(n))
    many.loc[[1, 2], "Mbar"] = 3.0
    (axes,) = plot_density(many).axes
    corners = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    np.testing.assert_allclose((corners.x0, corners.x1), (5, 95))
    full, open_ = (line for line in axes.lines if len(line.get_xdata()) not in (0, 2) or line.get_label() == "1")
    assert list(full.get_xdata()) == [1, 2] and len(open_.get_xdata()) == n - 2
    assert open_.get_markerfacecolor() == "white"


def test_figures_are_made_of_what_is_there(table):
    ids = table["image_id"].to_numpy(str)
    gallery = {"image_ids": ids, "image_pixels": np.zeros((60, 1, 4, 4), np.uint8)}
    every = {
        "score_by_copies",
        "quadrants",
        "score_by_nearest_train_distance",
        "score_by_leverage",
        "score_and_neighbors",
        "most_memorized",
    }
    assert set(figures(table, found(table), gallery)) == every
    less = figures(table.assign(leverage=np.nan), found(table) | {"kinds": None}, {})
    assert set(less) == {"score_by_copies", "quadrants", "score_by_nearest_train_distance"}


def test_without_standard_errors_there_is_no_figure(table):
    """One run a side, as 10 folds of one seed leave it."""
    assert figures(table.assign(se=np.nan), found(table), {}) == {}


def test_huge_scores_get_a_scale_that_keeps_the_small_ones(table):
    """A copier's score grows as -d ln sigma_min: hundreds of nats beside scores of one."""
    assert plot_against(table.assign(Mbar=table["Mbar"] * 100), "leverage", "").axes[0].get_yscale() == "symlog"
    alike = table.assign(Mbar=1000 + table["Mbar"])  # of one magnitude: decades would hide what they differ by
    assert plot_against(alike, "leverage", "").axes[0].get_yscale() == "linear"
    assert plot_against(table, "leverage", "").axes[0].get_yscale() == "linear"


def test_the_margins_are_those_of_the_scale(table):
    """A score of 5,000 stands as far below the edge as it would on a linear axis: 5 % of the axis."""
    figure = plot_against(table.assign(Mbar=np.where(table.index == 0, 5000.0, table["Mbar"])), "leverage", "")
    (axes,) = figure.axes
    drawn = axes.transAxes.inverted().transform(axes.transData.transform((0.5, 5002.0)))
    assert drawn[1] == pytest.approx(1.05 / 1.1, abs=0.01)


def test_every_point_stands_out_from_white(table):
    for name, figure in figures(table, found(table), {}).items():
        for colors in drawn_marks(figure):
            assert max(map(contrast_to_white, colors)) >= 3, (name, colors)
