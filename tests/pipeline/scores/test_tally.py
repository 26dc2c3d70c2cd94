"""Counts of different questions: as a dictionary of all of them would say."""

import numpy as np
import pytest

from pipeline.judges.cache import content_key
from pipeline.judges.protocol import Answer
from pipeline.scores import tally
from pipeline.scores.tally import Tally


@pytest.mark.parametrize("merge_from", [1, 1000])
def test_equal_questions_count_once(monkeypatch: pytest.MonkeyPatch, merge_from: int) -> None:
    monkeypatch.setattr(tally, "MERGE_FROM", merge_from)
    rng = np.random.default_rng(0)
    counted, naive = Tally(), {}
    assert counted.totals() == (0, 0, 0)
    for _ in range(20):
        numbers = rng.integers(60, size=15).tolist()
        keys, answers = [content_key([n]) for n in numbers], [Answer(1.0, (), 100 + n, n % 3) for n in numbers]
        counted.add(keys, answers)
        naive.update(zip(keys, answers, strict=True))
    sums = sum(a.tokens_in for a in naive.values()), sum(a.tokens_out for a in naive.values())
    assert counted.totals() == (len(naive), *sums)
