import os
from pathlib import Path
from typing import NamedTuple

import joblib
import pytest

from pipeline import processes
from pipeline.processes import in_parts


class Counting(NamedTuple):
    """Numbers, with the process that gave them; a file for each part tells that it was made."""

    folder: Path
    broken: int | None = None

    def some(self, start: int, stop: int) -> tuple[int, list[int]]:
        if self.broken in range(start, stop):
            raise ValueError(f"number {self.broken}")
        (self.folder / f"made-{start}").touch()
        return os.getpid(), list(range(start, stop))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "AT_ONCE", 3)
    monkeypatch.setattr(processes, "WORTHWHILE", 6)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("waiting", [1, 8])
def test_many_are_made_by_other_processes_in_order(
    waiting: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PARTS_WAITING", waiting)
    found = list(in_parts(Counting(tmp_path), 20, tmp_path))
    assert [number for _, numbers in found for number in numbers] == list(range(20))
    assert [len(numbers) for _, numbers in found] == [3, 3, 3, 3, 3, 3, 2]
    assert os.getpid() not in {process for process, _ in found}
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("total", [5, 0])
def test_few_are_made_here(total: int, tmp_path: Path) -> None:
    found = list(in_parts(Counting(tmp_path), total, tmp_path))
    assert [number for _, numbers in found for number in numbers] == list(range(total))
    assert {process for process, _ in found} <= {os.getpid()}


@pytest.mark.usefixtures("small")
def test_no_more_are_made_ahead_than_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PARTS_WAITING", 2)
    parts = in_parts(Counting(tmp_path), 60, tmp_path)
    next(parts)
    for _ in range(3):
        next(parts)  # all that wait
    assert {int(file.name.split("-")[1]) for file in tmp_path.glob("made-*")} == {0, 3, 6, 9}
    assert len(list(parts)) == 16


@pytest.mark.usefixtures("small")
def test_what_goes_wrong_in_another_process_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="number 7"):
        list(in_parts(Counting(tmp_path, broken=7), 20, tmp_path))
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
