"""The judge that is a sentence encoder: how near a text comes to the label's meaning.

It needs no language model and no calibration: cosines between LOW and HIGH become the range of answers. What it cannot
do is tell a word from one that means nearly the same, or see what the label says of grammar.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.embeddings.vectors import encode_all
from pipeline.judges.protocol import CLOSE, OPEN, Answer, Keep, Question
from pipeline.models.sentences import SentenceEncoder

LOW, HIGH = 0.08, 0.4
"""Cosines of a label with a text that has nothing to do with it, and with one that says the same."""
WORDS = 1
"""Words on either side of the marked ones that are read with them: more of them hide what is marked."""
PART_WORDS = 5
"""A text without marks is read in parts of so many words, and as near as its nearest part."""
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
            keep(range(start, start + len(some)), self._answers(some))

    def _answers(self, questions: Sequence[Question]) -> list[Answer]:
        """By the nearest of the parts of each text."""
        parts = [what_is_read(question) for question in questions]
        texts = list(dict.fromkeys(t for q, some in zip(questions, parts, strict=True) for t in (q.label, *some)))
        vectors_ND = encode_all(self._encoder, texts, lambda count: None)
        place = {text: number for number, text in enumerate(texts)}
        nearest = [
            float((vectors_ND[[place[part] for part in some]] @ vectors_ND[place[question.label]]).max())
            for question, some in zip(questions, parts, strict=True)
        ]
        shares = np.clip((np.array(nearest) - LOW) / (HIGH - LOW), 0, 1).tolist()
        return [Answer(q.task.highest * share) for q, share in zip(questions, shares, strict=True)]


def what_is_read(question: Question) -> list[str]:
    """The words around the marked ones, together; of a text without marks each part of a few words."""
    first, *marked = question.text.split(OPEN)
    if not marked:
        words = first.split()
        return [" ".join(words[n : n + PART_WORDS]) for n in range(0, len(words), PART_WORDS)] or [""]
    found, before = [], first
    for piece in marked:
        inside, _, after = piece.partition(CLOSE)
        left, right = before.split(" ")[-WORDS:], after.split(" ")[: WORDS + 1]
        found.append(f"{' '.join(left)}{inside}{' '.join(right)}")
        before = after
    return [" ".join(" ".join(found).split())]
