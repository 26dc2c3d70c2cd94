"""How near a text comes to a label in meaning, by the vectors of a sentence encoder.

It needs no calibration: cosines between LOW and HIGH become the range from 0 to 1. Of a text with marked tokens the
words around these are read, of any other each part of a few words.
"""

from collections.abc import Collection, Sequence
from itertools import groupby

import numpy as np

from pipeline.models.sentences import Floats

OPEN, CLOSE = "<<", ">>"
"""Stand around the tokens of a text that a question is about."""
LOW, HIGH = 0.08, 0.4
"""Cosines of a label with a text that has nothing to do with it, and with one that says the same."""
WORDS = 1
"""Words on either side of the marked ones that are read with them: more of them hide what is marked."""
PART_WORDS = 5
"""A text without marks is read in parts of so many words, and as near as its nearest part."""


def mark(pieces: Sequence[bytes], marked: Collection[int]) -> str:
    """Pieces joined, with OPEN and CLOSE around each run of marked ones, which are named by their offsets.

    Bytes at either end that are part of a character are left out.
    """
    if not marked:
        return b"".join(pieces).decode(errors="ignore")
    parts = []
    for inside, group in groupby(range(len(pieces)), key=lambda offset: offset in marked):
        part = b"".join(pieces[offset] for offset in group)
        parts.append(OPEN.encode() + part + CLOSE.encode() if inside else part)
    return b"".join(parts).decode(errors="ignore")


def read_parts(text: str) -> list[str]:
    """The words around the marked ones, together; of a text without marks each part of a few words."""
    first, *marked = text.split(OPEN)
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


def different_texts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What must be encoded for pairs of a label and a text: labels and parts of texts, each once."""
    return list(dict.fromkeys(text for label, whole in pairs for text in (label, *read_parts(whole))))


def nearness(pairs: Sequence[tuple[str, str]], vectors_ND: Floats) -> list[float]:
    """For each pair of a label and a text how near they are, 0 to 1: as near as the nearest of the text's parts.

    vectors_ND: of what `different_texts` says, norm 1.
    """
    place = {text: number for number, text in enumerate(different_texts(pairs))}
    nearest = [
        float((vectors_ND[[place[part] for part in read_parts(whole)]] @ vectors_ND[place[label]]).max())
        for label, whole in pairs
    ]
    shares: list[float] = np.clip((np.array(nearest) - LOW) / (HIGH - LOW), 0, 1).tolist()
    return shares
