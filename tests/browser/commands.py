"""The commands that a person types, on real processes, and pages opened in a new profile."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
from playwright.sync_api import Browser

from data.layout import StorePaths
from tests.browser.conftest import Watch


def monosema(*arguments: str, store: StorePaths, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments, "--store", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


@contextmanager
def serving(store: StorePaths) -> Iterator[str]:
    """A real server on a free port, stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--port", str(port), "--store", str(store.root)]
    server = subprocess.Popen(command, env={**os.environ, "MONOSEMA_STORE": str(store.root)})
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address, server)
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


def wait_until_ready(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended before it was ready"
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)  # between two polls of another process; nothing here depends on its length
    raise AssertionError("the server was not ready within 60 seconds")


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
