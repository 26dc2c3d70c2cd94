"""What `make demo` says before it installs anything on a machine where it could not run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.machine import PROCESSORS, machine_obstacle

ROOT = Path(__file__).parents[2]
GLIBC, NEW = ("glibc", "2.36"), (3, 11, 7)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (("Windows", "AMD64", NEW, ("", "")), "run it in WSL 2, which is Linux"),
        (
            ("Darwin", "x86_64", NEW, ("", "")),
            "no build of this version for Macs with Intel processors: use a container",
        ),
        (("Linux", "i686", NEW, GLIBC), "no build for Linux on i686"),
        (("Linux", "riscv64", NEW, GLIBC), "no build for Linux on riscv64"),
        (("FreeBSD", "amd64", NEW, ("", "")), "no build for FreeBSD on amd64"),
        (("", "", NEW, ("", "")), "no build for this system on this processor"),
        (("Linux", "x86_64", NEW, ("", "")), "such as Alpine"),
        (("Linux", "x86_64", NEW, ("glibc", "2.17")), "glibc 2.28 or newer, this is 2.17"),
        (("Linux", "x86_64", (3, 9, 2), GLIBC), "Python 3.11 or newer, this is 3.9.2: set PYTHON=python3.11"),
    ],
)
def test_a_machine_where_it_cannot_run_is_told_so_in_a_line(machine: tuple, said: str) -> None:
    reason = machine_obstacle(*machine)
    assert said in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    "machine",
    [
        ("Linux", "x86_64", NEW, GLIBC),
        ("Linux", "aarch64", (3, 14, 0), ("glibc", "2.28")),
        ("Darwin", "arm64", NEW, ("", "")),
    ],
)
def test_nothing_is_said_where_it_can(machine: tuple) -> None:
    assert machine_obstacle(*machine) == ""


def test_the_script_is_the_check() -> None:
    program = (
        "import platform, runpy; platform.system = lambda: 'Darwin'; platform.machine = lambda: 'x86_64'; "
        f"runpy.run_path({str(ROOT / 'pipeline' / 'machine.py')!r}, run_name='__main__')"
    )
    found = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True)
    assert found.returncode == 1
    assert re.fullmatch(r"Monosema cannot be installed here\. PyTorch has no build .*\.\n", found.stderr)
    here = subprocess.run([sys.executable, "-I", ROOT / "pipeline" / "machine.py"], capture_output=True, text=True)
    assert (here.returncode, here.stdout, here.stderr) == (0, "", "")


def test_make_demo_asks_before_it_installs_anything(tmp_path: Path) -> None:
    """A Python that always says no, where a virtual environment is to be made."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" >> asked\nexit 1\n')
    python.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    made = subprocess.run(["make", "demo", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode != 0
    assert (tmp_path / "asked").read_text() == "pipeline/machine.py\n"


def test_the_readme_names_the_machines() -> None:
    readme = (ROOT / "README.md").read_text()
    assert all(word in readme for word in ("Intel", "Windows", "WSL 2", "Alpine"))
    assert set(PROCESSORS) == {"Linux", "Darwin"}
