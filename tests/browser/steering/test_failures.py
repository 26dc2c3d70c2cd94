"""What goes wrong is said in place, with a way on."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.steering.form import (
    ASKED,
    OpenPage,
    expect_a_message,
    expect_it_goes_on,
    steer,
)
from tests.support.proxy import Proxy
from tests.support.steering import SECONDS, Server, brake, waiting

pytestmark = pytest.mark.browser


def test_a_body_that_is_too_large_says_so(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    page.evaluate("document.querySelector('textarea').removeAttribute('maxlength')")
    page.evaluate("document.querySelector('textarea').value = 'a'.repeat(17 * 2 ** 20)")
    page.evaluate("history.replaceState = () => {}")  # such a text is no address
    steer(page)
    expect_a_message(page, "MiB at most")
    page.evaluate("document.querySelector('textarea').value = 'the river'")
    expect_it_goes_on(page, "Write")


def test_what_does_not_fit_is_said_in_place(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    page.get_by_label("Text to continue", exact=True).fill("a" * 300)
    steer(page)
    expect_a_message(page, "at most 100 fit here: shorten it")
    page.get_by_label("Text to continue", exact=True).fill("the river")
    expect_it_goes_on(page, "Write")


@pytest.mark.parametrize("strength", ["1e999", "11", "much"])
def test_a_strength_that_is_none_is_refused_and_old_texts_go(open_page: OpenPage, strength: str) -> None:
    page = open_page(ASKED)
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens in")
    page.locator('input[name="s"]').fill(strength)
    steer(page)
    expect_a_message(page, "A strength is a number from -10 to 10, or off")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    expect(page.locator("#texts")).to_be_hidden()


def test_one_at_a_time(open_page: OpenPage, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(ASKED)
    visitor = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "visitor")
    with brake(monkeypatch) as held, server.open(visitor, seed=1) as first:
        assert held.reached.wait(SECONDS)
        with waiting(server, visitor, seed=2) as (second, _):
            steer(page)
            expect_a_message(page, "one request running and one waiting", again=True)
            held.let_go.set()
            assert second.result()[-1][1] == "done"
        first.read()
    expect_it_goes_on(page)


def test_a_full_queue_says_so(open_page: OpenPage, server: Server) -> None:
    page = open_page(ASKED)
    worker = server.app.state.engine.worker
    capacity, worker._capacity = worker._capacity, 0
    try:
        steer(page)
        expect_a_message(page, "try again in a few seconds", again=True)
    finally:
        worker._capacity = capacity
    expect_it_goes_on(page)


def test_a_failure_in_mid_stream_says_so(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch, at=3) as held:
        held.broken = True
        steer(page)
        expect(page.locator('[data-row="1"] .new')).to_have_count(2)
        held.let_go.set()
        expect_a_message(page, "The server failed to answer")
        expect(page.locator('[data-row="1"] .ending')).to_have_text("Not finished.")
    expect_it_goes_on(page, "Write")


def test_a_lost_connection_is_taken_up_again(
    open_page: OpenPage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch, at=3) as held:
        steer(page)
        expect(page.locator('[data-row="1"] .new')).to_have_count(2)
        proxy.cut()
        expect(page.locator("#progress")).to_contain_text("Connecting again")
        held.let_go.set()
        expect(page.locator("#progress")).to_contain_text("24 tokens in")
    assert [page.locator(f'[data-row="{row}"] .new').count() for row in range(2)] == [12, 12]
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_server_that_is_gone_says_so(open_page: OpenPage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch, at=3) as held:
        steer(page)
        expect(page.locator('[data-row="1"] .new')).to_have_count(2)
        proxy.refusing = True
        proxy.cut()
        expect_a_message(page, re.compile("lost|cannot be reached"), again=True)
        held.let_go.set()
    page.get_by_role("button", name="Try again").click()
    expect_a_message(page, "cannot be reached", again=True)
    proxy.refusing = False
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#progress")).to_contain_text(re.compile("24 tokens in|Written before"))
