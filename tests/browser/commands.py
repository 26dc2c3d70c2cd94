"""The commands that a person types, on real processes, and pages opened in a new profile."""

import subprocess
import sys
from contextlib import closing

from playwright.sync_api import Browser

from data.layout import StorePaths
from tests.browser.conftest import Watch


def monosema(*arguments: str, store: StorePaths, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments, "--store", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def visit(browser: Browser, address: str, paths: list[str]) -> list[str]:
    """Open pages in a new profile; returns their headings. Errors, warnings and foreign requests fail."""
    watch, headings = Watch(address), []
    with closing(browser.new_context()) as context:
        page = context.new_page()
        watch.follow(page)
        for path in paths:
            response = page.goto(address + path)
            assert response is not None
            assert response.status == 200, f"{path}: {response.status}"
            headings.append(page.locator("h1").first.inner_text())
    assert not watch.found
    return headings
