"""The judge that is a sentence encoder: how near a text comes to the label's meaning (pipeline/models/nearness.py).

It needs no language model and no calibration. What it cannot do is tell a word from one that means nearly the same, or
see what the label says of grammar.
"""

from collections.abc import Sequence

from pipeline.embeddings.vectors import encode_all
from pipeline.judges.protocol import Answer, Keep, Question
from pipeline.models.nearness import HIGH, LOW, PART_WORDS, WORDS, different_texts, nearness
from pipeline.models.sentences import SentenceEncoder

QUESTIONS_AT_ONCE = 4096


class SentenceJudge:
    """Compares vectors of labels and texts."""

    name = "sentences"
    keeps = True

    def __init__(self, encoder: SentenceEncoder, encoder_name: str) -> None:
        """encoder_name: names its weights."""
        self._encoder, self._encoder_name = encoder, encoder_name
        self.identity = f"sentences 1 {encoder_name} {LOW} {HIGH} {WORDS} {PART_WORDS}"

    @property
    def about(self) -> str:
        return f"the sentence encoder {self._encoder_name}: how near the text comes to the label in meaning"

    def ask(self, questions: Sequence[Question], keep: Keep) -> None:
        for start in range(0, len(questions), QUESTIONS_AT_ONCE):
            some = questions[start : start + QUESTIONS_AT_ONCE]
            pairs = [(question.label, question.text) for question in some]
            vectors_ND = encode_all(self._encoder, different_texts(pairs), lambda count: None)
            shares = nearness(pairs, vectors_ND)
            answers = [Answer(q.task.highest * share) for q, share in zip(some, shares, strict=True)]
            keep(range(start, start + len(some)), answers)
