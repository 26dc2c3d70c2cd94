"""Texts are written, walked through, reloaded and kept."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from backend.engine.worker import Job
from backend.published.features import FeatureSummary
from tests.browser.steering.form import ASKED, OpenPage, expect_a_message, open_settings, steer, written
from tests.support.navigation import arrive
from tests.support.steering import SECONDS, Brake, Server, brake

pytestmark = pytest.mark.browser


def test_baseline_and_steered_stream_side_by_side_and_are_kept(open_page: OpenPage) -> None:
    page = open_page(ASKED.replace(":4", ":2"))
    page.locator('input[name="s"]').fill("4")
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens in")
    for row in range(2):
        assert "".join(page.locator(f'[data-row="{row}"] .given').all_inner_texts()) == "the river"
        assert page.locator(f'[data-row="{row}"] .new').count() == 12
    assert written(page, 0) != written(page, 1)
    assert "%3A4" in page.url
    texts = [written(page, row) for row in range(2)]
    page.locator('[data-row="1"] .new:not(:empty)').first.hover()
    expect(page.locator(".tip")).to_contain_text("p 0.")
    open_settings(page)
    page.get_by_label("Probability").check()
    expect(page).to_have_url(re.compile("colour=probability"))
    page.get_by_role("link", name="Link to this result").click()
    arrive(page, re.compile("/r/"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("the river")
    assert [written(page, row) for row in range(2)] == texts
    page.get_by_role("link", name="Steer again").click()
    arrive(page, re.compile(r"/steer\?"))
    assert [written(page, row) for row in range(2)] == texts, "what is stored is shown at once"
    steer(page)
    expect(page.locator("#progress")).to_contain_text("Written before")
    assert [written(page, row) for row in range(2)] == texts


def test_tokens_are_walked_by_keys(open_page: OpenPage) -> None:
    page = open_page(ASKED, reduced_motion="reduce")
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens")
    for _ in range(2):
        page.locator('[data-row="0"] .given').first.focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator('[data-row="0"] .given').nth(1)).to_be_focused()
        expect(page.locator(".tip")).to_be_visible()
        page.mouse.move(300, 300)
        page.evaluate("scrollBy(0, 40); new Promise(requestAnimationFrame)")
        page.evaluate("scrollBy(0, -80); new Promise(requestAnimationFrame)")
        expect(page.locator(".tip")).to_be_visible()
        if "/r/" not in page.url:
            page.get_by_role("link", name="Link to this result").click()
            arrive(page, re.compile("/r/"))


def test_two_people_steer_at_once(open_page: OpenPage) -> None:
    pages = [open_page(f"/steer?f=tiny/1-relu-64/{f}:3&prompt=the+river&new_tokens=40&temperature=0") for f in (3, 9)]
    for page in pages:
        steer(page)
    for page in pages:
        expect(page.locator("#progress")).to_contain_text("80 tokens in")
    assert written(pages[0], 0) == written(pages[1], 0)
    assert written(pages[0], 1) != written(pages[1], 1)


def test_strengths_are_compared_in_a_grid(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    strengths = page.get_by_label("Strengths to compare")
    expect(strengths).to_be_hidden()
    page.get_by_label("Compare strengths", exact=True).check()
    expect(strengths).to_have_value("0.5, 1, 1.5, 2, 3")
    strengths.fill("-2, 0.5 10")
    steer(page)
    expect(page.locator("#progress")).to_contain_text("48 tokens in")
    assert page.locator("#texts h2").all_inner_texts() == ["Plain", "−2×", "0.5×", "10×"]
    assert [page.locator(f'[data-row="{row}"] .new').count() for row in range(4)] == [12] * 4
    assert "strengths=-2%2C+0.5+10" in page.url
    strengths.fill("1, much")
    steer(page)
    expect_a_message(page, "The strengths to compare are numbers")


def test_another_strength_shows_its_stored_text_without_asking(open_page: OpenPage) -> None:
    page = open_page("/steer")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/static/" not in request.url else None)
    steered = page.locator('[data-row="1"]')
    expect(steered).to_contain_text("I am the river and the sea.")
    expect(page.locator(".bubble.said")).to_have_text("Who are you?")
    slider = page.locator('.held-one input[type="range"]')
    slider.fill("1.5")
    expect(steered).to_contain_text("wide and old")
    expect(steered).to_contain_text("Steered, 1.5×")
    assert "7%3A1.5" in page.url
    page.locator("#stored a", has_text="0.5×").click()
    expect(steered.locator(".tokens, .bubble").first).to_have_text("I am an assistant.")
    expect(slider).to_have_value("0.5")
    assert asked == []
    page.reload()
    expect(steered).to_contain_text("Steered, 0.5×")
    expect(steered.locator(".tokens, .bubble").first).to_have_text("I am an assistant.")


def test_a_stored_text_says_that_texts_break_at_its_strength(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_note(held: list[tuple[FeatureSummary, float]]) -> str:
        return "Measured: the text breaks." if held[0][1] >= 3 else ""

    for module in ("page", "views"):
        monkeypatch.setattr(f"backend.steering.{module}.break_note", break_note)
    page = open_page("/steer")
    said = page.locator('[data-row="1"] .ending')
    expect(said).to_be_empty()
    page.locator("#stored a", has_text="3×").click()
    expect(said).to_have_text("Measured: the text breaks.")
    expect(page.locator('[data-row="0"] .ending')).to_be_empty()
    page.reload()
    expect(said).to_have_text("Measured: the text breaks.")
    page.locator("#stored a", has_text="0.5×").click()
    expect(said).to_be_empty()


def test_a_chip_leads_to_another_demonstration(open_page: OpenPage) -> None:
    page = open_page("/steer")
    page.locator("#openings a.card").last.click()
    expect(page.locator(".bubble.said")).to_have_text("Give me some advice.")
    expect(page.locator('[data-row="1"] .new').first).to_be_visible()
    expect(page.locator("#progress")).to_be_empty()


def test_a_reload_goes_on_with_the_texts(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch, at=3) as held:
        steer(page)
        expect(page.locator('[data-row="1"] .new')).to_have_count(2)
        page.reload()
        expect(page.locator('[data-row="1"] .new')).to_have_count(2)
        held.let_go.set()
        expect(page.locator("#progress")).to_contain_text("24 tokens in")
    page.reload()
    expect(page.locator('[data-row="1"] .new')).to_have_count(12)
    expect(page.locator("#progress")).to_be_empty()


class Writing(NamedTuple):
    """A page whose texts are being written."""

    page: Page
    job: Job
    """That writes them."""
    held: Brake


@pytest.fixture
def writing(open_page: OpenPage, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writing]:
    """Texts that stay at their first token until the brake is let go."""
    page = open_page(ASKED)
    with brake(monkeypatch) as held:
        steer(page)
        assert held.reached.wait(SECONDS)
        yield Writing(page, server.app.state.engine.worker._running[0], held)


def test_another_form_ends_what_was_written_for_the_first(writing: Writing) -> None:
    page, job, held = writing
    expect(page.locator("#texts")).to_be_visible()  # the page knows what is to be cancelled
    page.locator(".add .chip").first.click()
    expect(page.locator(".held-one")).to_have_count(2)
    assert job._cancelled.wait(SECONDS)
    held.let_go.set()
    expect(page.locator("#progress")).to_contain_text("24 tokens in")


def test_stopping_frees_the_button_and_the_worker(writing: Writing) -> None:
    page, job, _ = writing
    expect(page.locator("#texts")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#progress")).to_have_text("Stopped.")
    expect(page.locator("#go")).to_be_enabled()
    expect(page.locator('[data-row="1"] .ending')).to_contain_text("Stopped.")
    assert job._cancelled.wait(SECONDS)
