import math

import pytest

from backend.html.figures import activation_bars, curve_figures, density_bars
from data.artifacts.features import HISTOGRAM_BINS, histogram_edges


def test_bars_hold_every_token_at_its_place():
    histogram = [0] * HISTOGRAM_BINS
    histogram[20], histogram[24], histogram[30] = 1, 50, 100
    edges = histogram_edges(8.0)
    bars = activation_bars(histogram, edges.tolist(), maximum=float(edges[30]))
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
    assert activation_bars([0] * HISTOGRAM_BINS, histogram_edges(1.0).tolist(), 0.0) is None


@pytest.mark.parametrize("place", [0, HISTOGRAM_BINS - 1])
def test_a_bin_without_an_end_stands_apart_and_says_so(place):
    histogram = [0] * HISTOGRAM_BINS
    histogram[place], histogram[20] = 3, 8
    edges = histogram_edges(1.0).tolist()
    bars = activation_bars(histogram, edges, 1.0)
    assert bars is not None
    [end] = [bar for bar in bars.bars if bar.open]
    [other] = [bar for bar in bars.bars if not bar.open]
    edge = f"{edges[1]:.3g}" if place == 0 else f"{edges[-2]:.3g}"
    assert end.title == (f"below {edge}: 3 tokens" if place == 0 else f"{edge} and above: 3 tokens")
    assert abs(end.x - other.x) > 2 * end.width
    assert edge in bars.note
    assert bars.ticks[0 if place == 0 else -1].text == f"{'<' if place == 0 else '≥'}{edge}"
    assert all(0 <= bar.x < bar.x + bar.width <= 1 + 1e-9 for bar in bars.bars)
    assert all(0 <= tick.x <= 1 for tick in bars.ticks)


@pytest.mark.parametrize(("place", "says"), [(0, "below 0.000"), (HISTOGRAM_BINS - 1, "from 1")])
def test_what_lies_wholly_beyond_an_end_is_said_in_words(place, says):
    histogram = [0] * HISTOGRAM_BINS
    histogram[place] = 3
    bars = activation_bars(histogram, histogram_edges(1.0).tolist(), 0.0001)
    assert bars is not None
    assert bars.bars == []
    assert says in bars.note
    assert "All 3 tokens" in bars.note


def test_density_bars_count_features_between_edges_and_lead_to_them():
    bars = density_bars([3, 0, 5, 0], [-4, -3, -2, -1, 0], lambda low, high: f"{low:g} {high:g}")
    assert [(bar.x, bar.height) for bar in bars.bars] == [(0, 0.6), (pytest.approx(2 / 3), 1)]
    assert [bar.href for bar in bars.bars] == ["0.0001 0.001", "0.01 0.1"]
    assert bars.bars[1].title == "5 features active on 1% to 10% of tokens"
    assert [(tick.x, tick.text) for tick in bars.ticks] == [
        (0, "0.01%"), (pytest.approx(1 / 3), "0.1%"), (pytest.approx(2 / 3), "1%"), (1, "10%")
    ]  # fmt: skip


def test_curves_leave_out_what_was_not_measured():
    curve = [{"tokens": 10, "loss": 3.0, "l0": None}, {"tokens": 20, "loss": 2.0, "l0": 5.0}]
    figures = dict(curve_figures(curve))
    assert figures["Loss"]["data"][0]["y"] == [3.0, 2.0]
    assert figures["L0: active features per token"]["data"][0]["x"] == [20]
    assert "Dead share" not in figures
    assert curve_figures([]) == []
