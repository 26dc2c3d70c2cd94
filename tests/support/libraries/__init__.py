"""Scripts that run in the environment of other libraries, and how they are run there.

None of them imports anything of ours: beside them stand only each other.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

VARIABLE = "MONOSEMA_FORMATS_PYTHON"
PACKAGES = {"saelens": "sae_lens", "sparsify": "sparsify", "dictionary_learning": "dictionary_learning"}


def run_script(name: str, library: str, *arguments: object) -> None:
    """Run a script of this folder where a library is installed; skip the test, and say so, where there is no such."""
    named = os.environ.get(VARIABLE)
    if named is None and importlib.util.find_spec(PACKAGES[library]) is None:
        pytest.skip(f"{PACKAGES[library]} is not installed here, and {VARIABLE} names no interpreter that has it")
    script = Path(__file__).with_name(f"{name}.py")
    command = [named or sys.executable, "-W", "ignore", str(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
