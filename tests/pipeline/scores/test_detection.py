"""Detection and fuzzing: the texts, the marks and the balanced accuracy."""

import random

import numpy as np
import pytest

from pipeline.judges.protocol import Answer, Question
from pipeline.judges.tasks import DETECTION
from pipeline.models.nearness import mark
from pipeline.scores.detection import LabelledText, accuracy, other_tokens, strong_tokens


def test_marks_stand_around_runs_of_tokens() -> None:
    pieces = [b"a", b" b", b" c", b" d", b"\xc3"]
    assert mark(pieces, {1, 2}) == "a<< b c>> d"
    assert mark(pieces, {0, 2}) == "<<a>> b<< c>> d"
    assert mark(pieces, ()) == "a b c d"


def test_strong_tokens_reach_three_tenths_of_the_strongest() -> None:
    offsets, values = np.array([2, 5, 9]), np.array([1.0, 0.2, 0.31], np.float32)
    assert strong_tokens(offsets, values) == {2, 9}


@pytest.mark.parametrize(("length", "count"), [(32, 1), (32, 4), (9, 20), (3, 2), (1, 1)])
def test_other_tokens_are_those_that_the_same_seed_gives(length: int, count: int) -> None:
    found = other_tokens(length, count)
    first = length - length // 4
    rest = [offset for offset in range(length) if offset != first]
    draw = random.Random(22)
    number = min(count, length)
    expected = {first, *draw.sample(rest, number - 1)} if first < length else set(draw.sample(rest, number))
    assert found == expected
    assert len(found) == number


def test_accuracy_weighs_both_kinds_the_same() -> None:
    def text(activating: bool) -> LabelledText:
        return LabelledText(Question(DETECTION, "a", "a"), activating)

    texts = [text(True)] * 4 + [text(False)] * 2
    values = [0.5, 0.9, 0.4, None, 0.2, 0.6]
    rate = accuracy(texts, [Answer(value) for value in values])
    assert (rate.true_positive, rate.true_negative, rate.num) == (2 / 3, 0.5, 5)
    assert rate.balanced == pytest.approx((2 / 3 + 0.5) / 2)
    assert accuracy(texts[:4], [Answer(1.0)] * 4).balanced == 0.5
    assert accuracy([], []).num == 0
