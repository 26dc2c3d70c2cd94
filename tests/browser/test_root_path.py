"""The dashboard below a path of a real proxy: `open_page` fails when a page asks for anything beside that path."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Page, expect

from backend.settings import Settings
from data.layout import StorePaths
from tests.support.navigation import arrive
from tests.support.nginx import nginx_before
from tests.support.steering import Server, copied_database, steering_server

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
ROOT = "/proxy/8000"
FEATURE = "tiny/1-relu-64/3"


@pytest.fixture(scope="module")
def server(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = copied_database(published_store, tmp_path_factory.mktemp("root"))
    with steering_server(Settings(store=published_store.root, database_url=url, root_path=ROOT)) as server:
        yield server


@pytest.fixture(scope="module", params=["strips the path", "passes it on"])
def address(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What `open_page` opens."""
    folder: Path = tmp_path_factory.mktemp("nginx")
    with nginx_before(server.address, ROOT, folder, strips=request.param == "strips the path") as address:
        yield address


def test_links_suggestions_and_the_pages_of_features(open_page: Open, address: str) -> None:
    page = open_page("/")
    expect(page.locator(".brand")).to_have_attribute("href", f"{ROOT}/")
    page.keyboard.press("/")
    page.keyboard.type("univ")
    # An answer to fewer letters may come first, and one that comes later would take the choice back.
    options = page.locator(".suggestions [role=option]")
    expect(options.last).to_have_attribute("data-href", re.compile("q=univ$"))
    expect(options.first).to_contain_text("University")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    arrive(page, re.compile(f"^{address}/tiny/"))
    expect(page.locator(".feature-head")).to_be_visible()
    before = page.url
    page.get_by_role("link", name="Next", exact=False).first.click()
    expect(page).not_to_have_url(before)
    expect(page.locator(".feature-head")).to_be_visible()
    page.goto(f"{address}/random")
    expect(page.locator(".feature-head")).to_be_visible()
    page.goto(f"{address}/none")
    page.get_by_role("link", name="All SAEs").click()
    expect(page).to_have_url(f"{address}/")


def test_the_search_page_and_a_feature_by_its_name(open_page: Open, address: str) -> None:
    page = open_page("/search")
    box = page.get_by_label("What to search for")
    box.fill("river")
    expect(page.locator(".hit").first).to_be_visible()
    assert page.url.startswith(f"{address}/search?q=river")
    box.fill("1-relu-64/9")
    expect(page.locator("#results .empty")).to_have_text("This names a feature: tiny/1-relu-64/9")
    box.press("Enter")
    expect(page).to_have_url(f"{address}/tiny/1-relu-64/9")


def test_the_map_and_what_it_shows_of_a_feature(open_page: Open, address: str) -> None:
    page = open_page(f"/explore?f={FEATURE}")
    expect(page.locator("#map[data-drawn]:not([data-asking])")).to_be_visible()
    page.locator(".map-target").hover()
    page.get_by_role("link", name=re.compile("Open|feature", re.IGNORECASE)).first.click()
    assert page.url.startswith(f"{address}/")


def test_a_list_is_made_edited_and_known_again(open_page: Open, address: str) -> None:
    page = open_page(f"/{FEATURE}")
    page.keyboard.press("l")
    page.get_by_label("Name of a new list").fill("Rivers")
    page.get_by_role("button", name="Make the list").click()
    page.get_by_role("link", name="Open the list").click()
    arrive(page, re.compile(f"^{address}/lists/.*/edit"))
    expect(page.get_by_role("heading", name="Edit the list")).to_be_visible()
    shown = page.locator(".list-head .small a").inner_text()
    assert shown.startswith(f"{ROOT}/lists/")
    note = page.get_by_label(f"Note on {FEATURE}")
    note.fill("flows")
    note.press("Tab")
    expect(page.locator("[data-list-status]")).to_contain_text("is saved")
    page.get_by_role("button", name="Remove").first.click()
    expect(page.locator(".entry")).to_have_count(0)
    page.goto(f"{address}/lists")
    page.get_by_role("link", name="Rivers", exact=True).click()
    page.locator("[data-edit-link]").click()
    expect(page.get_by_role("heading", name="Edit the list")).to_be_visible()
    assert page.url.startswith(f"{address}/lists/")


def test_a_prompt_is_read_as_one_types(open_page: Open, address: str) -> None:
    page = open_page("/prompt")
    page.get_by_label("Text", exact=True).fill("the river of University")
    expect(page.locator(".cell").last).to_contain_text(" University")
    page.locator("#t2").click()
    expect(page.get_by_role("table", name="Features active on this token")).to_be_visible()
    assert page.url.startswith(f"{address}/prompt?")


def test_texts_are_steered_and_their_result_has_an_address(open_page: Open, address: str) -> None:
    page = open_page(f"/steer?f={FEATURE}:4&prompt=the+river&seed={urlsplit(address).port}&temperature=0&new_tokens=4")
    page.locator("#go").click()
    expect(page.locator("#progress")).to_contain_text("8 tokens in")
    page.get_by_role("link", name="Link to this result").click()
    arrive(page, re.compile(re.escape(f"{address}/r/")))
    page.go_back()
    page.locator("#go").click()
    expect(page.locator("#progress")).to_contain_text("Written before")


def test_an_owner_writes_a_label(open_page: Open, address: str, server: Server) -> None:
    page = open_page(f"/owner?key={quote(server.app.state.owner_key)}")
    expect(page).to_have_url(f"{address}/owner")
    page.wait_for_load_state()
    page.goto(f"{address}/{FEATURE}/label")
    page.get_by_label("Label").fill("Bridges")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bridges")
    assert page.url.startswith(f"{address}/{FEATURE}")
    page.goto(f"{address}/owner")
    page.get_by_role("button", name="Be a visitor again").click()
    expect(page.get_by_text("Who starts this server")).to_be_visible()


def test_what_the_api_is_described_to_have_is_there(open_page: Open, address: str) -> None:
    page = open_page("/docs")
    with page.expect_response("**/openapi.json") as answer:
        page.goto(f"{address}/api/v1/openapi.json")
    assert answer.value.json()["servers"] == [{"url": ROOT}]
