"""The comparison as JSON."""

import json
from pathlib import Path

from data.artifacts.comparison import Comparison, Group, GroupTest, Mean, Measure, read_comparison, write_comparison

COMPARISON = Comparison(
    "", 2, 100, 50, (Group("1-relu-4", 3, 2, 1, 0.01), Group("neurons", 3, 0, 0, 0.1)),
    (
        Measure("", "fit", (Mean("1-relu-4", 3, 0.5, 0.4, 0.6), Mean("neurons", 3, 0.2, 0.1, 0.3)),
                (GroupTest("1-relu-4", 0.3, 0.1, 0.5, 0.9, 0.02, "means"),)),
        Measure("rule", "fuzzing", (Mean("1-relu-4", 3, 0.5, 0.4, 0.6),), ()),
    ),
    ("local: off.",),
)  # fmt: skip


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_comparison(tmp_path, COMPARISON)
    assert read_comparison(tmp_path) == COMPARISON
    assert Comparison.from_json(json.loads(json.dumps(COMPARISON.as_json()))) == COMPARISON
    assert [measure.key for measure in COMPARISON.measures] == ["fit", "rule-fuzzing"]


def test_an_older_one_has_p_of_ranks() -> None:
    raw = json.loads(json.dumps(COMPARISON.as_json()))
    del raw["measures"][0]["tests"][0]["p_of"]
    assert Comparison.from_json(raw).measures[0].tests[0].p_of == "ranks"


def test_nothing_compared_is_read_too(tmp_path: Path) -> None:
    write_comparison(tmp_path, Comparison("The recipe compares none."))
    assert read_comparison(tmp_path).why_none == "The recipe compares none."
