"""Rows on disk by their keys: found without being in memory, the later of two, none that was cut off."""

from pathlib import Path

import pytest

from pipeline.judges import kept
from pipeline.judges.cache import content_key
from pipeline.judges.kept import KeptLines, KeptRows

KEYS = [content_key([number]) for number in range(300)]


def opened(folder: Path) -> KeptRows:
    return KeptRows(KeptLines(folder / "rows.jsonl"))


@pytest.mark.parametrize("merge_from", [7, 1000])
def test_rows_are_found_by_whoever_wrote_them_and_by_who_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge_from: int
) -> None:
    monkeypatch.setattr(kept, "MERGE_FROM", merge_from)
    rows = opened(tmp_path)
    for first in range(0, 200, 10):
        rows.add([key, number] for number, key in enumerate(KEYS[first : first + 10], first))
    rows.add([[KEYS[3], "again"]])
    expected = {key: [key, "again" if number == 3 else number] for number, key in enumerate(KEYS[:200])}
    for reader in (rows, opened(tmp_path)):
        assert reader.find(KEYS[::-1]) == expected
        assert reader.find([]) == {}


def test_a_row_that_was_cut_off_is_not_there_and_the_next_one_is(tmp_path: Path) -> None:
    rows = opened(tmp_path)
    rows.add([key, [0.25, 0.75], 100] for key in KEYS[:3])
    file = tmp_path / "rows.jsonl"
    for cut in (5, 6, 40):
        file.write_bytes(file.read_bytes()[:-cut])
        again = opened(tmp_path)
        assert again.find(KEYS[:3]).keys() == set(KEYS[:2])
        again.add([[KEYS[2], [0.5, 0.5], 7]])
        assert opened(tmp_path).find(KEYS[2:3]) == {KEYS[2]: [KEYS[2], [0.5, 0.5], 7]}
        rows = opened(tmp_path)


def test_two_keys_that_begin_alike_are_two(tmp_path: Path) -> None:
    one, other = KEYS[0], KEYS[0][:16] + KEYS[1][16:]
    rows = opened(tmp_path)
    rows.add([[one, 1]])
    assert rows.find([other]) == {}
