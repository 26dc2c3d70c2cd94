"""Time of `monosema --help`, and of a server until it is ready; neither imports torch.

Every start is a process of its own. The store is that of MONOSEMA_STORE where it is set (the demo, say), else a small
synthetic run.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data.layout import STORE_VARIABLE, StorePaths
from pipeline.commands.serving import take_port
from tests.benchmarks.server import wait_until_ready
from tests.benchmarks.table import Row
from tests.support.synthetic_run import publish_synthetic_run

TARGETS = {"help": 0.5, "ready": 2.0}
"""Seconds."""
STARTS = 5
NUM_FEATURES = 1_000
CHECK = "import sys; {imports}; assert 'torch' not in sys.modules, 'torch was imported'"


def run() -> list[Row]:
    for imports in ("import pipeline.cli", "import backend.app; backend.app.create_app()"):
        subprocess.run([sys.executable, "-c", CHECK.format(imports=imports)], check=True)
    given = os.environ.get(STORE_VARIABLE)
    if given:
        return _rows(StorePaths(Path(given)))
    with tempfile.TemporaryDirectory() as folder:
        store = StorePaths(Path(folder))
        publish_synthetic_run(store, NUM_FEATURES)
        return _rows(store)


def _rows(store: StorePaths) -> list[Row]:
    _ready_seconds(store)  # modules are compiled when they are first imported
    return [
        _row("monosema --help", [_help_seconds() for _ in range(STARTS)], TARGETS["help"]),
        _row("start of the server to /readyz", [_ready_seconds(store) for _ in range(STARTS)], TARGETS["ready"]),
    ]


def _row(name: str, seconds: list[float], target: float) -> Row:
    median = statistics.median(seconds)
    note = f"median of {STARTS} processes, torch not imported"
    return Row(name, f"{median:.2f} s", f"{target:g} s (target)", target / median, note)


def _help_seconds() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipeline.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _ready_seconds(store: StorePaths) -> float:
    with take_port("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--port", str(port)]
    start = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, STORE_VARIABLE: str(store.root)}, stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(port, process)
        return time.perf_counter() - start
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    print(*run(), sep="\n")
