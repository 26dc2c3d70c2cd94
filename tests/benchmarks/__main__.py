"""`make bench`: every benchmark, one table, with the machine and the date.

`make bench BENCH=harvest` runs one of them.
"""

import importlib
import platform
import sys
from datetime import date
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.table import Row


def processor() -> str:
    """The processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    names = [
        line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
    ]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


def render(rows: list[Row]) -> Table:
    table = Table(title=f"{processor()}; torch {torch.__version__}; {date.today().isoformat()}")
    for column in Row._fields:
        table.add_column(column, justify="right" if column == "ratio" else "left")
    for row in rows:
        table.add_row(row.name, row.ours, row.reference, f"{row.ratio:.2f}", row.note)
    return table


def main() -> None:
    available = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    wanted = sys.argv[1:] or available
    unknown = set(wanted) - set(available)
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(sorted(unknown))}: use {', '.join(available)}")
    rows = [row for name in wanted for row in importlib.import_module(f"tests.benchmarks.bench_{name}").run()]
    Console(width=160).print(render(rows))


if __name__ == "__main__":
    main()
