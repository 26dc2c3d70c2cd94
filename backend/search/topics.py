"""Prompts for a topic, written by the model itself: some about it, and some about other things for contrast.

Small models follow instructions loosely, so each prompt is one sampled answer to a simple request, more are requested
than needed, and the answers are trimmed to one sentence and filtered.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.engine.engine import Engine
from backend.engine.messages import Draw, Prompt
from backend.exceptions import RefusedError
from backend.published.catalogue import OpenRun

MAX_TOPIC_PROMPTS = 8
"""Prompts of each kind at once."""
MAX_TOPIC = 100
SPARE = 5
"""Answers beyond those needed, of each kind."""
NEW_TOKENS = 40
TEMPERATURE, TOP_P = 0.8, 0.95
FEWEST_WORDS, MOST_WORDS = 4, 40

REQUESTS = (
    "Write one short, simple sentence about {subject}.",
    "Write one short sentence that mentions {subject}.",
    "Tell me one fact about {subject} in one short sentence.",
    "Write a short first sentence of a story about {subject}.",
)
OPENING = "Here is one sentence about {subject}:\n\n"
"""For a model without a chat template."""
STOP_WORDS = {"the", "and", "for", "with", "from", "into", "its", "his", "her", "our", "about", "other", "things"}
"""Words of a topic that any text may have."""
OTHER_SUBJECTS = (
    "cooking dinner", "the weather", "a football match", "a train journey", "gardening", "a computer program",
    "an old painting", "a visit to the doctor", "learning to swim", "a birthday party", "the stock market",
    "a mountain", "a court case", "a song on the radio", "building a house", "a lost dog", "the planet Mars",
    "a school exam", "a fishing boat", "a new pair of shoes", "an election", "the history of a castle",
    "a broken car", "a cup of coffee",
)  # fmt: skip

_NOT_AFTER_ABBREVIATION = "".join(rf"(?<!\b{word})" for word in ("Dr", "Mr", "Mrs", "Ms", "Prof", "St", "vs", "[A-Z]"))
"""Not after an abbreviation or an initial, whose full stop ends no sentence."""
_SENTENCE = re.compile(rf".*?{_NOT_AFTER_ABBREVIATION}[.!?][\"'”’)]?(?=\s|$)", re.DOTALL)
_LIST_MARK = re.compile(r"^\s*(?:[-*•–]|\d{1,2}[.)]|[Aa]nswer:|[Ss]entence:)\s+")
_PREAMBLE = re.compile(r"^(?:sure|certainly|of course|here(?:'s| is| are)|okay|as an ai|i'm sorry|i am sorry)\b", re.I)


@dataclass(frozen=True)
class TopicPrompts:
    """The prompts that the model wrote for a topic."""

    topic: str
    positive: list[str]
    negative: list[str]
    note: str
    """A sentence on missing prompts, and what to do; "" when there are enough."""


async def write_prompts(engine: Engine, run: OpenRun, topic: str, k: int, seed: int) -> TopicPrompts:
    """Ask the model of a run for `k` prompts about a topic and `k` about other things.

    Raises RefusedError for an empty topic, and as `Engine.write` does.
    """
    topic = " ".join(topic.split())[:MAX_TOPIC]
    if not topic:
        raise RefusedError("The topic is empty: name something to write about.")
    chat = await engine.can_chat(run)
    subjects = [topic] * (k + SPARE) + other_subjects(topic, k + SPARE, seed)
    asked = [
        (_request(subject, place, chat), Draw(TEMPERATURE, TOP_P, NEW_TOKENS, _seed(seed, place)))
        for place, subject in enumerate(subjects)
    ]
    answers = await engine.write(run, asked)
    return filter_answers(topic, answers[: k + SPARE], answers[k + SPARE :], k)


def filter_answers(topic: str, about: Sequence[str], others: Sequence[str], k: int) -> TopicPrompts:
    """The usable ones among the model's answers, whole sentences first: those about the topic name it, others do not.

    One sentence that misses the topic would leave no feature that is active in all.
    """
    positive = [sentence for sentence in _sentences(about) if mentions(sentence, topic)]
    negative = [sentence for sentence in _sentences(others) if not mentions(sentence, topic)]
    positive, negative = (sorted(kind, key=lambda text: not _is_whole(text))[:k] for kind in (positive, negative))
    return TopicPrompts(topic, positive, negative, missing_prompts(len(positive), len(negative), k))


def missing_prompts(num_positive: int, num_negative: int, k: int) -> str:
    """A sentence on how many of `k` prompts of each kind are missing, and what to do; "" when none are."""
    kinds = ((num_positive, "about the topic"), (num_negative, "about other things"))
    missing = [f"{k - found} of {k} {kind}" for found, kind in kinds if found < k]
    if not missing:
        return ""
    return f"The model's answers were not usable for {' and '.join(missing)}: ask again, or write your own."


def other_subjects(topic: str, count: int, seed: int) -> list[str]:
    """Everyday subjects that do not name the topic, in an order by seed and topic."""
    others = [subject for subject in OTHER_SUBJECTS if not mentions(subject, topic)]
    random.Random(f"{seed} {topic}").shuffle(others)
    return others[:count]


def sentence_of(answer: str) -> str:
    """The first sentence of an answer, without what models like to put around it; "" when there is none to use."""
    for line in answer.splitlines():
        text = _LIST_MARK.sub("", line).strip().strip('"“”*_` ').strip()
        if not text or text.endswith(":") or _PREAMBLE.match(text):
            continue
        whole = _SENTENCE.match(text)
        # Cut off by the limit of tokens, the last word may be half of one.
        sentence = whole[0].rstrip('"“”') if whole else text.rpartition(" ")[0]
        if sentence.count('"') % 2:
            sentence = sentence.replace('"', "")
        return sentence if FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS else ""
    return ""


def mentions(text: str, topic: str) -> bool:
    """Whether a text has a word of the topic, in one of its forms."""
    words = [word for word in re.findall(r"\w{3,}", topic.casefold()) if word not in STOP_WORDS] or [topic.casefold()]
    stems = [_stem(word) for word in words]
    # Words of other scripts may stand together without a space.
    return any(re.search(rf"\b{re.escape(s)}" if s.isascii() else re.escape(s), text.casefold()) for s in stems)


def _stem(word: str) -> str:
    """The rough stem of a word."""
    single = re.sub(r"(?<=\w\w)(?:ies|(?<=[sxzh])es|(?<!s)s)$", "", word)
    return single[: max(4, len(single) - 3)]


def _sentences(answers: Iterable[str]) -> list[str]:
    """One sentence of each answer, each once."""
    found = {re.sub(r"\W+", " ", sentence).casefold(): sentence for sentence in map(sentence_of, answers) if sentence}
    return list(found.values())


def _is_whole(sentence: str) -> bool:
    return sentence.endswith((".", "!", "?"))


def _request(subject: str, place: int, chat: bool) -> Prompt:
    request = REQUESTS[place % len(REQUESTS)] if chat else OPENING
    return Prompt(request.format(subject=subject), chat)


def _seed(seed: int, place: int) -> int:
    """Different for each answer, and for each time that is asked again."""
    return (seed * 1000 + place) % 2**63
