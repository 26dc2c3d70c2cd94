"""A filled chat template in the box to try a text on a feature, on a tiny random Llama that has such a template."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.marked import FILLED, MARK, mark_turns
from tests.support.serving import serving
from tests.support.steering import chatting_store

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = chatting_store(published_store, tmp_path_factory.mktemp("marked"))
    mark_turns(store.models / "tiny")
    with serving(create_app(Settings(store=store.root))) as address:
        yield address


def test_its_tokens_are_faint_or_counted_or_plain_text(open_page: Callable[..., Page]) -> None:
    page = open_page("/tiny/1-relu-64/3")
    page.get_by_label("Try a text on it").fill(FILLED)
    page.get_by_role("button", name="Read").click()
    result = page.locator("#try-result")
    marks = result.locator(".tokens > span", has_text=MARK)
    expect(marks).to_have_count(2)
    expect(result.locator(".uncounted")).not_to_have_count(0)
    expect(result.locator(".left-out")).to_have_count(0)
    expect(result).to_contain_text("are the chat template’s and shown faint, not counted")
    marks.last.hover()
    expect(page.locator(".tip")).to_have_text("of the chat template, not counted")

    result.get_by_role("button", name="Count them").click()
    leave_out = result.get_by_role("button", name="Leave them out")
    expect(leave_out).to_be_focused()
    expect(result.locator(".uncounted")).to_have_count(0)

    result.get_by_role("button", name="Read its marks as plain text").click()
    expect(marks).to_have_count(0)
    expect(result.locator(".tokens")).to_contain_text(MARK)
    result.get_by_role("button", name="Read them as tokens").click()
    expect(marks).to_have_count(2)

    page.get_by_label("Try a text on it").fill("the river")
    page.keyboard.press("Control+Enter")
    expect(result.locator(".tokens")).to_have_text("<s>the river")
    expect(result).not_to_contain_text("chat template")
