"""What can be seen: nothing blank, nothing over the edge, everything read by everyone."""

import pytest
from playwright.sync_api import expect

from tests.browser.steering.form import ASKED, OpenPage, open_settings, steer
from tests.support.steering import FEATURE, Server, brake
from tests.support.views import check_view, in_every_view

pytestmark = pytest.mark.browser


def test_a_model_that_is_not_in_memory_is_said_to_be_loaded(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    page.evaluate("document.getElementById('progress').dataset.loading = 'The model is being loaded.'")
    page.route("**/api/v1/steer", lambda route: None)
    steer(page)
    expect(page.locator("#progress")).to_have_text("The model is being loaded.")
    expect(page.locator("#progress")).to_be_in_viewport()


@pytest.mark.parametrize("width", [390, 1280])
def test_strength_texts_and_the_way_on_share_the_screen(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    page = open_page(f"{ASKED}&f=tiny/1-relu-64/9:3", width=width, reduced_motion="reduce")
    with brake(monkeypatch, at=1) as held:
        steer(page)
        expect(page.locator("#texts .turn").last).to_be_in_viewport()
        for shown in (page.locator('input[name="s"]').first, page.locator("#stop"), page.locator("#go")):
            expect(shown).to_be_in_viewport()
        held.let_go.set()
        expect(page.locator("#progress")).to_contain_text("24 tokens in")


def test_nothing_is_left_blank_below_the_strengths(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    line = page.locator("#run-line")
    assert line.bounding_box()["height"] < 2
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens in")
    assert line.bounding_box()["height"] > 20


def test_the_rows_of_a_phone_do_not_overlap(open_page: OpenPage) -> None:
    page = open_page("/steer?f=tiny/1-relu-64/9:0.001&f=tiny/1-relu-64/3:off", width=390)
    for one in page.locator(".held-one").all():
        assert one.locator(".held-strength").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert len({one.bounding_box()["x"] for one in page.locator(".held-remove").all()}) == 1


LUMINANCE = """(cell, property) => {
    const value = getComputedStyle(cell)[property];
    const parts = value.match(/[\\d.]+/g).slice(0, 3).map((part) => Number(part) / (value.startsWith("rgb") ? 255 : 1));
    const linear = parts.map((part) => ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}"""


@pytest.mark.parametrize(("scheme", "least"), [("light", 1.9), ("dark", 2.7)])
def test_probabilities_can_be_seen_and_the_text_on_them_read(open_page: OpenPage, scheme: str, least: float) -> None:
    page = open_page(ASKED, color_scheme=scheme)
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens")
    open_settings(page)
    page.get_by_label("Probability").check()
    token, card = page.locator('[data-row="1"] .new').first, page.locator('[data-row="1"] .bubble')
    token.evaluate("token => { token.dataset.p = 11; }")

    def contrast(one: float, other: float) -> float:
        return (max(one, other) + 0.05) / (min(one, other) + 0.05)

    marked = token.evaluate(LUMINANCE, "backgroundColor")
    assert contrast(marked, card.evaluate(LUMINANCE, "backgroundColor")) >= least
    assert contrast(marked, token.evaluate(LUMINANCE, "color")) >= 4.5


@in_every_view
@pytest.mark.parametrize("sweep", [False, True])
def test_pages_are_accessible_and_nothing_runs_over_the_edge(
    open_page: OpenPage, server: Server, width: int, scheme: str, sweep: bool
) -> None:
    features = [{"feature": f"tiny/1-relu-64/{index}", "strength": 3} for index in (3, 7)]
    result = server.steer(features=features, sweep=sweep, prompt="the <script>alert(1)</script> river " + "a" * 60)
    forms = [] if sweep else ["/steer", f"/steer?f={FEATURE}:2&f=tiny/1-relu-64/7:-3"]
    for path in (*forms, result[-1][2]["result"] + "?colour=probability"):
        page = open_page(path, width=width, color_scheme=scheme)
        check_view(page, width, scheme)
        tables = page.locator(".table-wrap")
        assert tables.evaluate_all("tables => tables.every((one) => one.scrollWidth <= one.clientWidth)")
