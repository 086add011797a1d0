import matplotlib.pyplot
import numpy as np
import pandas
import pytest
from matplotlib.colors import to_rgb

from analysis import plots
from analysis.pictures.gallery_plot import plot_gallery
from analysis.plots import Ordered, plot_growth, plot_losses, plot_rates, ticks_apart
from analysis.words import count_label

RATES = pandas.DataFrame({"params": [10, 10, 100, 100], "copies": [1, 8, 1, 8], "rate": [0.1, 0.2, 0.3, 0.6]})
RATES = RATES.assign(lo=RATES["rate"] / 2, hi=RATES["rate"] + 0.1)


def test_intervals_are_drawn_where_they_are():
    figure = plot_rates(RATES, "params", Ordered([1, 8], "copies"), xlabel="parameters", ylabel="rate", null=0.01)
    axes = figure.axes[0]
    segments = [s for c in axes.containers for s in c.lines[2][0].get_segments()]
    found = sorted((s[0][1], s[1][1], s[0][0]) for s in segments)
    expected = sorted((r.lo, r.hi, r.params) for r in RATES.itertuples())
    np.testing.assert_allclose([row[:2] for row in found], [row[:2] for row in expected])
    # Lines stand an eighth of the gap to either side of the value, which is a decade here.
    aside = np.log10([row[2] for row in found]) - np.log10([row[2] for row in expected])
    np.testing.assert_allclose(np.abs(aside), 1 / 8)
    assert "log scale" in axes.get_xlabel()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1", "8", "null"]


def test_a_fitted_curve_is_drawn_as_given():
    line = Ordered([1, 8], "copies")
    figure = plot_rates(
        RATES, "params", line, xlabel="p", ylabel="f", curve=lambda grid, copies: 0 * grid + copies / 10
    )
    heights = {round(float(drawn.get_ydata()[0]), 6) for drawn in figure.axes[0].lines if len(drawn.get_xdata()) == 100}
    assert heights == {0.1, 0.8}


def test_an_ordered_value_keeps_its_colour_and_marker_in_every_figure():
    line = Ordered([8, 1, 64], "copies")
    assert line.values == [1, 8, 64]
    assert line.color(8) == Ordered([1, 8, 64], "copies").color(8)
    assert len({line.marker(v) for v in line.values}) == 3


def test_brightness_alone_tells_ordered_values_apart():
    """Colour-blind safe: luminance rises along the scale, and its pale end stays away from white."""
    line = Ordered(2.0 ** np.arange(8), "copies")
    brightness = [np.dot(to_rgb(line.color(v)), [0.2126, 0.7152, 0.0722]) for v in line.values]
    assert np.all(np.diff(brightness) > 0.03) and brightness[-1] < 0.8


def test_named_colours_are_okabe_and_ito_s():
    assert [c for c, *_ in plots.LOSSES.values()] == ["#009E73", "#0072B2", "#D55E00"]
    assert len({style for _, style, _ in plots.LOSSES.values()}) == 3


def test_losses_show_the_mean_of_the_runs_and_leave_out_what_was_not_measured():
    evals = pandas.DataFrame({"params": [10.0] * 4, "images_seen": [0, 0, 50, 50], "holdout_loss": [2.0, 4, 1, 1]})
    for name in ("train_loss", "seen_loss", "train_loss_se", "seen_loss_se"):
        evals[name] = np.nan
    axes = plot_losses(evals.assign(holdout_loss_se=0.1), [10.0]).axes[0]
    assert len(axes.lines) == 1
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [3, 1])


def test_copies_are_framed_in_the_gallery():
    images = np.zeros((2, 1, 4, 4), np.uint8)
    pair = {"samples": images, "nearest": images, "ratio": np.array([0.9, 0.1]), "copies": np.array([1, 8])}
    figure = plot_gallery([pair], ["run"], 2)
    framed = [axes.spines["left"].get_visible() for axes in figure.subfigs[0].axes]
    assert framed == [False, True, False, True]


def test_colour_images_are_shown_in_colour():
    images = np.zeros((1, 3, 4, 4), np.uint8)
    pair = {"samples": images, "nearest": images, "ratio": np.array([0.9]), "copies": np.array([1])}
    assert plot_gallery([pair], ["run"], 1).subfigs[0].axes[0].images[0].get_array().shape == (4, 4, 3)


def test_figures_leave_no_global_state():
    plot_growth(RATES.assign(images_seen=[0, 1, 2, 3]), Ordered([10, 100], "params"), ylabel="f")
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize(("value", "label"), [(12, "12"), (999, "999"), (40489, "40.5 k"), (1_423_729, "1.42 M")])
def test_counts_have_short_labels(value, label):
    assert count_label(value) == label


def test_labels_keep_their_distance_in_logarithms():
    """Of 1, 2, 3, 10, 100 the span is ln 100; a fifth of it is ln 2.51."""
    assert ticks_apart([100, 10, 3, 2, 1, 1], 0.2) == [1, 3, 10, 100]
    assert ticks_apart([1, 10, 90, 100], 0.2) == [1, 10, 100] and ticks_apart([5, 5], 0.2) == [5]


def test_values_that_round_alike_have_labels_of_their_own():
    """A U-Net and the same with labels: both 160 k, and in a legend one would have taken the other's place."""
    sizes = Ordered([40_489, 159_697, 160_337], "params")
    assert [sizes.label(value) for value in sizes.values] == ["40.49 k", "159.7 k", "160.3 k"]
    assert Ordered([40_489, 159_697], "params").label(40_489) == "40.5 k"
