"""The steering page in a real browser, on a tiny random Llama."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

FEATURE = "tiny/1-relu-64/3"
OpenPage = Callable[..., Page]


def test_steering_streams_baseline_beside_steered(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}:2&prompt=the+river&temperature=0&new_tokens=12")
    strength = page.locator('input[name="s"]')
    strength.fill("4")
    expect(page.locator(".held-one output")).to_contain_text("=")
    page.get_by_role("button", name="Steer").click()
    expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=20_000)
    baseline, steered = (page.locator(f'[data-row="{row}"]') for row in range(2))
    assert baseline.locator(".given").inner_text() == steered.locator(".given").inner_text() == "the river"
    assert baseline.locator(".new span").count() == steered.locator(".new span").count() == 12
    assert baseline.locator(".new").inner_text() != steered.locator(".new").inner_text()
    assert "p 0." in (steered.locator(".new span").first.get_attribute("title") or "")
    assert "%3A4" in page.url


def test_two_people_steer_at_once(open_page: OpenPage) -> None:
    pages = [open_page(f"/steer?f=tiny/1-relu-64/{f}:3&prompt=the+river&new_tokens=40&temperature=0") for f in (3, 9)]
    for page in pages:
        page.get_by_role("button", name="Steer").click()
    for page in pages:
        expect(page.locator("#progress")).to_contain_text("seconds", timeout=20_000)
    texts = [[page.locator(f'[data-row="{row}"] .new').inner_text() for row in range(2)] for page in pages]
    assert texts[0][0] == texts[1][0]
    assert texts[0][1] != texts[1][1]


@pytest.mark.parametrize("status", [422, 503])
def test_a_refusal_is_shown_in_place(open_page: OpenPage, status: int) -> None:
    page = open_page(f"/steer?f={FEATURE}:2")
    problem = {"status": status, "detail": "Refused on purpose: try again."}
    page.route("**/api/v1/steer", lambda route: route.fulfill(status=status, json=problem))
    page.get_by_role("button", name="Steer").click()
    expect(page.get_by_role("alert")).to_contain_text("Refused on purpose")
    expect(page.get_by_role("button", name="Steer")).to_be_enabled()


def test_a_stream_that_breaks_off_is_never_shown_as_finished(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}:2")
    half = 'event: queued\ndata: {"ahead": 0}\n\nevent: token\ndata: {"row": 0, "token"'
    page.route("**/api/v1/steer", lambda route: route.fulfill(content_type="text/event-stream", body=half))
    page.get_by_role("button", name="Steer").click()
    expect(page.get_by_role("alert")).to_contain_text("broke off")
    expect(page.locator("#progress")).to_be_empty()


def test_stopping_frees_the_button(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}:2")
    held: list[Route] = []
    page.route("**/api/v1/steer", lambda route: held.append(route))
    page.get_by_role("button", name="Steer").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#progress")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Steer")).to_be_enabled()


def test_the_form_works_without_javascript(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}", java_script_enabled=False)
    page.get_by_label("Add a feature").fill("tiny/1-relu-256/7")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".held-one")).to_have_count(2)
    page.get_by_label("New tokens").fill("8")
    page.get_by_role("button", name="Steer").click()
    expect(page.locator('[data-row="1"] .new span')).to_have_count(8)
    page.locator(".held-remove").first.click()
    expect(page.locator(".held-one")).to_have_count(1)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("path", [f"/steer?f={FEATURE}:2&f=tiny/1-relu-64/7:-3"])
def test_nothing_runs_over_the_edge(open_page: OpenPage, path: str, width: int) -> None:
    page = open_page(path, width=width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
