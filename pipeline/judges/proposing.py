"""Labels that a judge writes: what it is shown, what it may answer, and how that is kept.

A proposer is a judge that can write: a chat model, on this machine or behind a server. What it is shown of a feature is
one text (pipeline/scores/sources.py); what it answers is a label of a few words, or nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from data.manifests import digest
from pipeline.judges.cache import Usage, content_key
from pipeline.judges.kept import KeptLines, holding_back
from pipeline.models.chat_template import Message
from pipeline.models.nearness import CLOSE, OPEN

VERSION = 1
"""Raised when the same text gets other labels, so that older ones are not taken for them."""
MAX_TOKENS = 16
"""That a proposer may write."""
LONGEST = 60
"""Characters of a label."""
QUOTES = ('"', "'", "`")
"""Taken off around a label as a whole, unless it is a mark or a word of two letters."""
THOUGHTS, THOUGHTS_END = "<think>", "</think>"
"""Between these some models think before they answer."""
INSTRUCTION = (
    "You name what a feature of a language model stands for. Each line is a text in which the words where it is "
    f"active stand between {OPEN} and {CLOSE}, with how active it is before it. Lines that begin with 'Not' are texts "
    "in which it is not active on the marked word, though it is on the same word elsewhere. Last come words that it "
    "makes more and less likely to follow. Answer with a label of one to eight words that fits what is marked, as "
    "narrow as the texts allow. Write the label alone."
)
SHOWN = (
    (
        f"100%: The village was founded in{OPEN} April{CLOSE} 1832 by two brothers.\n"
        f"84%: He left the army in{OPEN} June{CLOSE} of that year.\n"
        f"31%: In the{OPEN} spring{CLOSE} of 1907 she sailed north.\n"
        f"Not: You{OPEN} may{CLOSE} have seen it.\n"
        'More likely: " 1832", " of", " 1"',
        "months of the year",
    ),
    (
        f"100%: He was the first governor{OPEN} of{CLOSE} the province.\n"
        f"77%: She was elected Bishop{OPEN} of{CLOSE} London.\n"
        f"Not: a glass{OPEN} of{CLOSE} water\n"
        'More likely: " the", " England"',
        '"of" after an office',
    ),
)
"""Texts and right answers that come before the question."""


class Proposal(NamedTuple):
    """What a judge says to one text."""

    label: str | None
    """None where it wrote nothing that can be one."""
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def is_usable(self) -> bool:
        return self.label is not None


KeepProposals = Callable[[Sequence[int], Sequence[Proposal]], None]
"""Takes the numbers of some texts, and the labels for them."""


@runtime_checkable
class Proposer(Protocol):
    """A judge that can write."""

    identity: str
    """Names everything but the text that decides a label. Labels are kept under it."""

    def propose(self, texts: Sequence[str], keep: KeepProposals) -> None:
        """A label for each text, in any order; `keep` is told of some as soon as they are there.

        Raises JudgeError, or ModelError, when it cannot go on; what was told before counts.
        """
        ...


class ProposalCache:
    """The labels of one proposer that are on disk: one is never asked twice for the same text."""

    def __init__(self, folder: Path, proposer: Proposer) -> None:
        self._proposer = proposer
        self._lines = KeptLines(folder / f"{digest({'proposer': proposer.identity, 'version': VERSION})}.jsonl")
        self._known = {row[0]: Proposal(*row[1:]) for row in self._lines.read() if len(row) == 4}

    def ask(
        self, texts: Sequence[str], advance: Callable[[int], None] = lambda count: None
    ) -> tuple[list[Proposal], Usage]:
        """A label for each text, those that are not known from the proposer. Raises what it raises."""
        keys = [content_key([text]) for text in texts]
        missing = list({key: place for place, key in enumerate(keys) if key not in self._known}.values())
        advance(len(texts) - len(missing))
        spent = Usage(kept=len(texts) - len(missing))

        def keep(places: Sequence[int], proposals: Sequence[Proposal]) -> None:
            nonlocal spent
            found = dict(zip([keys[missing[place]] for place in places], proposals, strict=True))
            write(([key, *proposal], proposal.is_usable) for key, proposal in found.items())
            self._known.update(found)
            sums = sum(p.tokens_in for p in proposals), sum(p.tokens_out for p in proposals)
            spent = spent.plus(Usage(len(places), 0, *sums))
            advance(len(places))

        if missing:
            with holding_back(self._lines.add) as write:
                self._proposer.propose([texts[place] for place in missing], keep)
        return [self._known[key] for key in keys], spent


def proposal_messages(text: str) -> list[Message]:
    """The chat whose next message is the label."""
    messages = [Message("system", INSTRUCTION)]
    for shown, label in SHOWN:
        messages += [Message("user", shown), Message("assistant", label)]
    return [*messages, Message("user", text)]


def without_thoughts(written: str) -> str:
    """What a model wrote behind its thoughts; "" where these are not over."""
    _, over, answer = written.rpartition(THOUGHTS_END)
    return "" if not over and answer.lstrip().startswith(THOUGHTS) else answer


def read_label(written: str) -> str | None:
    """The label in what was written: its first line, without what models put around it; None where there is none."""
    line = next((line for line in without_thoughts(written).splitlines() if line.strip()), "")
    text = " ".join(line.removeprefix("Label:").replace("*", "").split()).rstrip(".")
    quote, inside = text[:1], text[1:-1]
    if quote in QUOTES and text.endswith(quote) and quote not in inside and sum(map(str.isalpha, inside)) > 2:
        text = inside.rstrip(".").strip()
    if not any(character.isprintable() and character not in (" ", *QUOTES) for character in text):
        return None
    return text if len(text) <= LONGEST and OPEN not in text and text.isprintable() else None
