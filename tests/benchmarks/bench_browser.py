"""What a newcomer waits for, in a real browser: Home and Explore with nothing cached, and the way to a steered text.

Who arrives clicks the most prominent thing of each page: Home's first button, then what sends the message. The store is
that of MONOSEMA_STORE, else the default one; the browser is Chromium (CHROMIUM names another).
"""

import os
import re
import shutil
import statistics
import time
from typing import Any, NamedTuple

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.benchmarks.server import demo_store, running_server
from tests.benchmarks.table import Row

LOADS = 5
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PAGES = {"Home": ("/", 200_000, 1000), "Explore": ("/explore", 700_000, 2000)}
"""Address, bytes and milliseconds (targets)."""
MESSAGE = "Give me some advice"
CLICKS, SECONDS = 3, 10.0
"""Targets: clicks to a steered text, and seconds to it from the first request on."""
LONGEST_MS = 120_000
WORD = re.compile(r"\w")
MEASURE = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const all = [page, ...performance.getEntriesByType("resource")];
  const sum = (name) => all.reduce((total, one) => total + one[name], 0);
  const last = Math.max(...all.map((one) => one.responseEnd));
  return { load: page.loadEventEnd, last, bytes: sum("transferSize"), files: all.length };
}"""

LAST_WRITTEN = """() => {
  const texts = [...document.querySelectorAll("#texts .answer.steered")];
  const words = [...(texts.at(-1)?.querySelectorAll(".new") ?? [])].map((one) => one.textContent).join("");
  return /\\w/.test(words) ? `${texts.length} ${words}` : "";
}"""
"""The last steered text of the steering page, with its number; empty as long as it has no word."""


class Way(NamedTuple):
    """From the first request for Home to a steered text."""

    clicks: int
    seconds: float


def run() -> list[Row]:
    store = demo_store()
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "chromium-headless-shell"]
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        raise SystemExit("this benchmark needs Chromium: install it, or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        with running_server(store) as address:
            shown, own = _ways(browser, address)
            loads = [_load_row(browser, address, name) for name in PAGES]
        browser.close()
    return [
        _way_row("from Home to a steered text", shown, "that the run itself wrote"),
        _way_row("from Home to a steered answer of one's own", own, "first word; the model is loaded on the way"),
        *loads,
    ]


def _way_row(name: str, way: Way, note: str) -> Row:
    return Row(
        name,
        f"{way.clicks} clicks, {way.seconds:.2f} s",
        f"{CLICKS} clicks, {SECONDS:g} s (target)",
        min((CLICKS + 1) / (way.clicks + 1), SECONDS / way.seconds),
        note,
    )


def _ways(browser: Browser, address: str) -> tuple[Way, Way]:
    """To the first steered text that is seen, and to one that is written for a message of one's own."""
    page = browser.new_page()
    page.set_default_timeout(LONGEST_MS)
    start = time.perf_counter()
    page.goto(address)
    clicks = 0
    while not (_steered(page).count() and _steered(page).first.is_visible()):
        clicks += 1
        assert clicks <= CLICKS, f"no steered text after {CLICKS} clicks: {page.url}"
        _most_prominent(page).click()
        page.wait_for_load_state()
    shown = Way(clicks, time.perf_counter() - start)
    if not page.locator("#steer").count():
        clicks += 1
        _most_prominent(page).click()
        page.wait_for_url("**/steer**")
    before = page.evaluate(LAST_WRITTEN)
    page.locator("#steer-prompt").fill(MESSAGE)
    _most_prominent(page).click()
    page.wait_for_function(f"before => {{ const now = ({LAST_WRITTEN})(); return now && now !== before }}", arg=before)
    own = Way(clicks + 1, time.perf_counter() - start)
    page.close()
    return shown, own


def _most_prominent(page: Page) -> Locator:
    return page.locator(".button.primary:visible").first


def _steered(page: Page) -> Locator:
    """Steered texts with something in them."""
    return page.locator(".answer.steered .bubble:visible").filter(has_text=WORD)


def _load_row(browser: Browser, address: str, name: str) -> Row:
    path, most_bytes, longest = PAGES[name]
    loads = [_load(browser, address + path) for _ in range(LOADS)]
    size, load, last = (statistics.median(one[key] for one in loads) for key in ("bytes", "load", "last"))
    return Row(
        f"first load of {name}",
        f"{size:,.0f} bytes, {load:.0f} ms",
        f"{most_bytes:,} bytes, {longest} ms (target)",
        min(most_bytes / size, longest / load),
        f"{loads[0]['files']} files, nothing cached; the last of them came after {last:.0f} ms; median of {LOADS}",
    )


def _load(browser: Browser, address: str) -> dict[str, Any]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address, wait_until="networkidle", timeout=LONGEST_MS)
    page.wait_for_function("() => performance.getEntriesByType('navigation')[0].loadEventEnd > 0", timeout=LONGEST_MS)
    measured: dict[str, Any] = page.evaluate(MEASURE)
    context.close()
    return measured


if __name__ == "__main__":
    print(*run(), sep="\n")
