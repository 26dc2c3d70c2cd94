from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.serving import serving
from tests.support.steering import copied_database

ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Without a graphics card, one made in software paints slower than none. Nothing here draws with WebGL.
    "--disable-gpu",
]
PATIENCE = 30_000
"""Milliseconds for which expectations wait at most, as actions on a page do; their own default is five seconds.

A busy machine takes longer to load a model and answer with it, or to draw a figure. What comes sooner ends the wait.
"""
HARMLESS = (
    "404",
    "413",
    "422",
    "429",
    "503",
    "ERR_INTERNET_DISCONNECTED",
    "ERR_INCOMPLETE_CHUNKED_ENCODING",
    "ERR_CONNECTION_RESET",
    "ERR_CONNECTION_CLOSED",
    "ERR_SOCKET_NOT_CONNECTED",
    "ERR_EMPTY_RESPONSE",
)
"""The browser's own notes on answers that tests ask for on purpose."""


@pytest.fixture(scope="session")
def address(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server on a free port, with a database of its own."""
    url = copied_database(published_store, tmp_path_factory.mktemp("address"))
    with serving(create_app(Settings(store=published_store.root, database_url=url))) as address:
        yield address


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Watch:
    """What must not happen on any page."""

    address: str
    found: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"script error: {error}"))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(known in message.text for known in HARMLESS):
            self.found.append(f"console: {message.text}")

    def _request(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.found.append(f"request to {url}")


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Open an address in a new profile. Afterwards no page may have had an error, or asked anyone else for anything."""
    watch = Watch(address)
    contexts = []

    def open_(path: str, *, width: int = 1280, height: int = 900, **options: object) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        watch.follow(page)
        page.goto(address + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not watch.found
