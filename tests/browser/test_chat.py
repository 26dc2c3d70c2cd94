"""A chat of several turns on the steering page, on a tiny random Llama with a chat template."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from backend.settings import Settings
from data.layout import StorePaths
from tests.support.steering import FEATURE, Server, chatting_store, steering_server
from tests.support.views import check_view, in_every_view

OpenPage = Callable[..., Page]
ASKED = f"/steer?f={FEATURE}:4&chat=1&prompt=river&temperature=0&new_tokens=3"


@pytest.fixture(scope="module")
def server(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = chatting_store(published_store, tmp_path_factory.mktemp("chat"))
    with steering_server(Settings(store=store.root, max_prompt_tokens=300)) as server:
        yield server


@pytest.fixture(scope="module")
def address(server: Server) -> str:
    """What `open_page` opens."""
    return server.address


def expect_written(page: Page, num_turns: int) -> None:
    expect(page.locator("#progress")).to_contain_text(re.compile("tokens in|Written before"))
    expect(page.locator(".turn")).to_have_count(num_turns)
    for row in range(2):
        expect(page.locator(".turn").last.locator(f'[data-row="{row}"] .ending')).not_to_contain_text("Waiting")


def test_a_chat_goes_on_over_a_reload_and_at_other_strengths(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    message = page.locator("#steer-prompt")
    page.get_by_role("button", name="Send").click()
    expect_written(page, 1)
    expect(message).to_have_value("")
    expect(page.get_by_text("System prompt")).to_be_visible()
    expect(page.get_by_text("Be brief")).to_be_hidden()
    expect(page).to_have_url(re.compile("after="))
    message.fill("war")
    message.press("Enter")
    expect(page.locator(".bubble.said")).to_have_text(["river", "war"])
    expect_written(page, 2)
    first = page.locator(".turn").first.locator('[data-row="1"] .tokens').inner_text()
    page.reload()
    expect(page.locator(".bubble.said")).to_have_text(["river", "war"])
    assert page.locator(".turn").first.locator('[data-row="1"] .tokens').inner_text() == first
    for raw in ("user:", "assistant:"):
        assert raw not in page.locator("#texts").inner_text()
    page.locator('input[type="range"]').fill("1")
    expect(page.locator(".turn").last).to_contain_text("Steered, 1×")
    expect_written(page, 2)
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator('input[name="s"]')).to_have_value("1")


def test_a_demonstration_goes_on(open_page: OpenPage) -> None:
    page = open_page("/steer")
    page.locator(".options summary").click()
    page.get_by_label("New tokens").fill("3")
    page.locator("#steer-prompt").fill("more")
    page.keyboard.press("Enter")
    expect(page.locator(".bubble.said")).to_have_text(["Who are you?", "more"])
    expect_written(page, 2)
    page.get_by_role("link", name="Link to this result").click()
    expect(page.locator(".bubble.said")).to_have_text(["Who are you?", "more"])
    page.get_by_role("link", name="Go on chatting").click()
    expect(page.locator(".bubble.said")).to_have_text(["Who are you?", "more"])


def test_what_is_stopped_can_be_answered_again(open_page: OpenPage) -> None:
    page = open_page(ASKED.replace("river", "music"))
    page.route("**/api/v1/steer", lambda route: route.abort("connectionreset"))
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.locator("#steer-prompt")).to_have_value("music")
    page.unroute("**/api/v1/steer")
    page.get_by_role("button", name="Try again").click()
    expect_written(page, 1)


@in_every_view
def test_a_conversation_is_accessible_and_nothing_runs_over_the_edge(
    open_page: OpenPage, server: Server, width: int, scheme: str
) -> None:
    turn = {"message": "a" * 40, "baseline": "<b>c</b>", "steered": "b" * 30}
    result = server.steer(chat=True, prompt="e", history=[turn], max_new_tokens=2)[-1][2]["result"]
    for path in (result, f"/steer?f={FEATURE}:4&chat=1&prompt=&after={result[3:]}"):
        check_view(open_page(path, width=width, color_scheme=scheme), width, scheme)
