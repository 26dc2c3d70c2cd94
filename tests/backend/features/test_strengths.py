"""Curves over strengths: a section of a feature's page, its API, and where the steering form begins."""

import re
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from backend.features.strengths import _perplexity_panel
from backend.html.curves import CurveFigure, CurvePanel, CurvePoint, curve_html
from backend.published.strengths import StrengthPoint
from backend.steering.strengths import DEFAULT_STRENGTH
from tests.support.fake_run import DEAD, MARKED, RARE
from tests.support.strengths import FLAT, OPENINGS, RISING, SILENT, STRENGTHS

SAE = "1-relu-64"
FREE = 20
"""A feature that nothing was measured of."""


def section(pages, index: int):
    return pages.get(f"/tiny/{SAE}/{index}").context["strengths"]


def test_the_best_strength_and_the_break_are_said_and_lead_to_the_form(pages) -> None:
    found = section(pages, RISING)
    assert (found.best, found.href) == ("2×", f"/steer?f=tiny/{SAE}/{RISING}:2")
    assert "9.0% of the next token, against 1.00%" in found.found
    assert "2.8 of 3, against 0.2" in found.found
    assert found.breaks.startswith("From 4× on the text breaks: it is more than 5 times")
    assert "tells right labels from shuffled ones 86% of the time" in found.judge
    assert [row.strength for row in found.rows] == ["none", "−1×", "0.5×", "1×", "2×", "3×", "4×", "8×"]
    assert [row.verdict for row in found.rows] == [*[""] * 4, "best", "", "broken", "broken"]
    assert pages.get(found.href).context["chips"][0].strength == 2


def test_the_figure_has_a_point_for_every_strength_and_marks_best_and_break(pages) -> None:
    figure = section(pages, RISING).figure
    assert list(figure.ticks) == ["−1", "none", "0.5", "1", "2", "3", "4", "8"]
    assert (figure.ticks[figure.marked], figure.ticks[figure.shaded]) == ("2", "4")
    assert [len(panel.points) for panel in figure.panels] == [len(STRENGTHS) + 1, 5, len(STRENGTHS) + 1]
    assert [point.hollow for point in figure.panels[0].points][-3:] == [False, True, True]


def test_texts_stand_beside_those_with_nothing_held(pages) -> None:
    found = section(pages, RISING)
    assert [(one.opening, one.plain) for one in found.texts] == [(o, f" teacher {o}") for o in OPENINGS]
    assert found.shown == "2×"
    assert all("river" in one.held for one in found.texts)
    page = pages.get(f"/tiny/{SAE}/{RISING}")
    assert "<script>alert(1)" not in page.text
    assert "&lt;b&gt;river" in page.text


def test_a_feature_without_texts_has_no_panel_of_the_judge(pages) -> None:
    found = section(pages, SILENT)
    assert (found.best, found.shown, len(found.figure.panels)) == ("3×", "", 2)
    assert "judge" not in found.found


def test_a_feature_that_no_strength_moves_says_so(pages) -> None:
    page = pages.get(f"/tiny/{SAE}/{FLAT}")
    found = page.context["strengths"]
    assert (found.best, found.href, found.breaks) == ("", "", "At no strength that was tried does the text break.")
    assert "No strength brings the text nearer" in page.text
    assert "Steer with it at" not in page.text


@pytest.mark.parametrize(
    ("index", "said"), [(FREE, "not among the 9 features measured: 3 that respond"), (RARE, "rare")]
)
def test_a_feature_that_was_not_measured_says_why(pages, index: int, said: str) -> None:
    assert said in section(pages, index).why_none
    html = pages.get(f"/tiny/{SAE}/{index}").text
    assert "<dt>How strongly to hold it</dt>" in html[html.index('id="not-measured"') :]
    assert 'id="strengths"' not in html


def test_a_dead_feature_has_no_section(pages) -> None:
    assert section(pages, DEAD) is None


def test_the_api_has_every_figure(client: TestClient) -> None:
    found = client.get(f"/api/v1/features/tiny/{SAE}/{RISING}/strengths").json()
    assert (found["best"], found["breaks"], found["judge"]) == (2.0, 4.0, "sentences")
    assert [one["strength"] for one in found["points"]] == list(STRENGTHS)
    assert found["plain"]["strength"] is None
    assert found["trust"]["separation"] == pytest.approx(0.86)
    assert client.get(f"/api/v1/features/tiny/{SAE}/{FREE}/strengths").json()["points"] == []


@pytest.mark.parametrize(
    ("index", "strength", "said"),
    [
        (RISING, 2.0, "Measured best at 2×; the text breaks from 4× on."),
        (SILENT, 3.0, "Measured best at 3×; the text breaks from 4× on."),
        (MARKED, 2.0, "Its best text was written at 2×."),
        (FREE, DEFAULT_STRENGTH, "Not measured how strongly: begins at 2×."),
    ],
)
def test_the_form_begins_with_the_strength_that_was_measured_best(pages, index, strength, said) -> None:
    page = pages.get(f"/steer?f=tiny/{SAE}/{index}")
    assert page.context["chips"][0].strength == strength
    assert said in page.text


def test_a_curve_is_drawn_inside_its_panel() -> None:
    points = [CurvePoint(place, value, f"{value}", value > 5) for place, value in enumerate((-1.0, 0.5, 3.0, 99.0))]
    panel = CurvePanel("A < B", points, 0.5, 10.0, "0.5", "10", log=True, limit=5.0)
    html = curve_html(CurveFigure("n", "x", ["a", "b", "c", "d"], [panel], marked=1, shaded=3))
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', html)]
    assert heights[0] == heights[1] > heights[2] > heights[3]
    assert "A &lt; B" in html
    assert html.count("dot hollow") == 1


def test_a_perplexity_beyond_the_panel_is_told_at_its_top() -> None:
    plain = StrengthPoint(None, 0.1, 120.0, None, None, None, [], broken=False)
    panels = [
        _perplexity_panel([plain, replace(plain, strength=2.0, perplexity=highest)], plain, 5.0)
        for highest in (500.0, 11_000.0, 21_000.0)
    ]
    assert [panel.high_text for panel in panels] == ["600", "11k", "> 12k"]


def test_what_is_shaded_is_named_above_the_curves() -> None:
    panel = CurvePanel("A", [CurvePoint(0, 1.0, "1"), CurvePoint(1, 2.0, "2")], 0.0, 2.0, "0", "2")
    html = curve_html(CurveFigure("n", "x", ["a", "b"], [panel], shaded=1, shaded_text="shaded: broken"))
    assert re.search(r'y="10" text-anchor="end">shaded: broken<', html)


def test_the_page_of_an_sae_says_how_random_features_do(pages) -> None:
    found = pages.get(f"/tiny/{SAE}").context["strengths"]
    assert found.headline == "1 of 2 features drawn at random, too few to tell of all, can be held usefully:"
    assert "break at 4 times" in found.breaks
