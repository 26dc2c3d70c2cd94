"""The sentence judge: what it reads, and that it is the cosine of the label with it."""

from pathlib import Path

import pytest

from pipeline.judges.protocol import Answer, Question
from pipeline.judges.sentences import SentenceJudge
from pipeline.judges.tasks import DETECTION, SPECIFICITY
from pipeline.models.nearness import HIGH, LOW, read_parts
from pipeline.models.sentences import SentenceEncoder
from tests.support.sentences import make_encoder


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a bad storm<< king>> of the river", ["storm king of"]),
        ("th<<e riv>>er of", ["the river of"]),
        ("the<< king>> of a bad<< storm>>", ["the king of bad storm"]),
        ("<<the>>", ["the"]),
        ("a b c d e f", ["a b c d e", "f"]),
        ("", [""]),
    ],
)
def test_it_reads_the_words_around_the_marks(text: str, read: list[str]) -> None:
    assert read_parts(text) == read


def test_an_answer_is_the_nearest_parts_cosine(tmp_path: Path) -> None:
    encoder = SentenceEncoder.load(make_encoder(tmp_path))
    questions = [
        Question(SPECIFICITY, "bad weather", "the<< storm>> of"),
        Question(SPECIFICITY, "storm", "<<storm>>"),
        Question(DETECTION, "king", "the river of the storm a b c the king of"),
    ]
    found: dict[int, Answer] = {}
    judge = SentenceJudge(encoder, "tiny")
    judge.ask(questions, lambda at, answers: found.update(zip(at, answers, strict=True)))
    for number, question in enumerate(questions):
        label = encoder.encode([question.label])[0]
        cosine = max(float(encoder.encode([part])[0] @ label) for part in read_parts(question.text))
        expected = question.task.highest * min(max((cosine - LOW) / (HIGH - LOW), 0), 1)
        assert found[number].value == pytest.approx(expected, abs=1e-4)
    assert found[1].value == pytest.approx(3.0)
