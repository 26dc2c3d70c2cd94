"""The command line in this process, which has imported torch already: that takes seconds in each of its own."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from data.layout import StorePaths
from pipeline import cli


@dataclass(frozen=True)
class Done:
    """What a command left."""

    status: int
    stdout: str
    stderr: str


def run_here(*arguments: str) -> Done:
    """Run `monosema` with these arguments."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.setattr(sys, "argv", ["monosema", *arguments])
        with pytest.raises(SystemExit) as ending:
            cli.main()
    return Done(ending.value.code or 0, stdout.getvalue(), stderr.getvalue())


def monosema_here(*arguments: str, store: StorePaths, status: int = 0) -> Done:
    """What is left of a command on a store, which must end with `status`."""
    done = run_here(*arguments, "--store", str(store.root))
    assert done.status == status, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done
