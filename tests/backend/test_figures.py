import math

import pytest

from backend.figures import activation_bars, curve_figures, density_figure
from data.records import HISTOGRAM_BINS, histogram_edges


def test_bars_hold_every_token_at_its_place():
    histogram = [0] * HISTOGRAM_BINS
    histogram[20], histogram[24], histogram[30] = 1, 50, 100
    edges = histogram_edges(8.0)
    bars = activation_bars(histogram, 8.0, maximum=float(edges[30]))
    assert bars is not None
    assert [bar.height for bar in bars.bars] == [pytest.approx(0.012), 0.5, 1.0]
    assert bars.peak == 100
    assert bars.bars[-1].level == 11
    assert bars.bars[1].title.endswith("50 tokens")
    # Ticks and bars share one logarithmic axis.
    low, high = edges[19], edges[32]
    for tick in bars.ticks:
        assert tick.x == pytest.approx(math.log(float(tick.text) / low) / math.log(high / low), abs=1e-3)
    assert bars.bars[0].x == pytest.approx(1 / 13)


def test_a_dead_feature_has_no_bars():
    assert activation_bars([0] * HISTOGRAM_BINS, 1.0, 0.0) is None


@pytest.mark.parametrize("place", [0, HISTOGRAM_BINS - 1])
def test_bars_at_either_end_stay_inside(place):
    histogram = [0] * HISTOGRAM_BINS
    histogram[place] = 3
    bars = activation_bars(histogram, 1.0, 1.0)
    assert bars is not None
    assert 0 <= bars.bars[0].x < bars.bars[0].x + bars.bars[0].width <= 1
    assert all(0 <= tick.x <= 1 for tick in bars.ticks)


def test_density_figure_counts_features_between_edges():
    figure = density_figure([3, 0, 5], [-4, -3, -2, -1], lambda low, high: f"{low:g} {high:g}")
    [bars] = figure["data"]
    assert (bars["x"], bars["y"]) == ([-3.5, -2.5, -1.5], [3, 0, 5])
    assert figure["links"] == ["0.0001 0.001", "0.001 0.01", "0.01 0.1"]


def test_curves_leave_out_what_was_not_measured():
    curve = [{"tokens": 10, "loss": 3.0, "l0": None}, {"tokens": 20, "loss": 2.0, "l0": 5.0}]
    figures = dict(curve_figures(curve))
    assert figures["Loss"]["data"][0]["y"] == [3.0, 2.0]
    assert figures["L0: active features per token"]["data"][0]["x"] == [20]
    assert "Dead share" not in figures
    assert curve_figures([]) == []
