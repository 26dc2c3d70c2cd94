"""Servers that are processes of their own, each on a port that nobody else is given meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from data.layout import StorePaths

START_SECONDS, STOP_SECONDS = 120, 60


@contextmanager
def held_port() -> Iterator[int]:
    """A free port of 127.0.0.1. Until the block ends the system gives it to nobody; a server that names it gets it.

    Both may be bound to it, as both ask to share it (SO_REUSEADDR, as servers do) and only one of them listens.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def monosema_serving(store: StorePaths, **environment: str) -> Iterator[str]:
    """The address of a server that `monosema serve` starts, stopped as by Ctrl-C when the block ends."""
    with held_port() as port:
        command = [sys.executable, "-m", "pipeline.cli", "serve", "--port", str(port), "--store", str(store.root)]
        process = subprocess.Popen(command, env={**os.environ, **environment})
        address = f"http://127.0.0.1:{port}"
        try:
            _await_ready(address, process)
            yield address
        finally:
            _stop(process)


def _await_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    last = time.monotonic() + START_SECONDS
    while time.monotonic() < last:
        assert process.poll() is None, "the server ended before it was ready"
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)  # between two polls of another process; nothing here depends on its length
    raise AssertionError(f"the server was not ready within {START_SECONDS} seconds")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
