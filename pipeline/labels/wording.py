"""Wording of a rule: a label of a few words, with samples of the words it was seen on.

University                   a word; was / were: several
"of" in "University of"      a word after, or before, one other
"," after a year             a word with what stands beside it
months: May, June            a class, a kind, an affix, a place, with samples
names near war, army         what stands near in a sentence or two
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from data.published.terms import JOINERS, is_unspaced
from pipeline.labels.rule import Condition, Rule
from pipeline.labels.words import SPACE_NAMES

MAX_LENGTH = 48
"""Characters of a label."""
MOST_ITEMS = 5
"""Words that a rule names."""
MOST_SAMPLES = 4
"""Words that a label shows of those on which its rule holds."""
MANY = {
    "year": "years",
    "number": "numbers",
    "name": "names",
    "acronym": "acronyms",
    "text start": "the start of a passage",
    "line start": "the start of a line",
    "sentence start": "the start of a sentence",
    "in brackets": "inside brackets",
    "in quotation marks": "inside quotation marks",
}
ONE = {"year": "a year", "number": "a number", "name": "a name", "acronym": "an acronym"}
PLACES = {
    "text start": "first in a passage",
    "line start": "first in a line",
    "sentence start": "first in a sentence",
    "in brackets": "inside brackets",
    "in quotation marks": "inside quotation marks",
}
SIDES = {"previous": "after", "next": "before", "near": "near"}


def say(rule: Rule, samples: Sequence[str], spelled: Mapping[str, str], is_common: Callable[[str], bool]) -> str:
    """The label of a rule.

    samples: words as they are written, on which it holds, the most frequent first. spelled: the usual spelling of words
    by their folded form. is_common: whether a word says little by itself, so that it stands in quotation marks.
    """
    here = [condition for condition in rule.conditions if condition.at == "here"]
    around = [condition for condition in rule.conditions if condition.at != "here"]
    head = next((condition for condition in here if condition.kind != "trait"), here[0] if here else None)
    places = [condition for condition in here if condition is not head]
    if phrase := _phrase(head, around, places, spelled):
        return phrase
    rest = " ".join([*map(_place, places), *(_around(condition, spelled) for condition in around)])
    if head is not None and head.kind == "word":
        return _words(head, spelled, rest, is_common)
    if head is not None and head.kind == "piece":
        start, places = _piece(head.words[0], places)
        rest = " ".join([*map(_place, places), *(_around(condition, spelled) for condition in around)])
    else:
        start = _head(head, alone=len(rule.conditions) == 1) if head else ""
    text = " ".join(part for part in (start, rest) if part)
    items = unique(samples)[:MOST_SAMPLES]
    return fit(f"{text}: ", items) if items and len(text) < MAX_LENGTH - 8 else cut(text)


def _words(head: Condition, spelled: Mapping[str, str], rest: str, is_common: Callable[[str], bool]) -> str:
    """Words in their usual spelling, with as many of them as there is room for before what stands around them."""
    texts = [spelled.get(word, word) for word in head.words]
    marked = bool(rest) or any(not text[0].isalnum() or is_common(text) for text in texts)
    ending = f" {rest}" if rest else ""
    items = [quoted(text) if marked else text for text in texts][:MOST_ITEMS]
    while len(items) > 1 and len(" / ".join(items) + ending) > MAX_LENGTH:
        items.pop()
    return cut(" / ".join(items) + ending)


def _head(head: Condition, *, alone: bool) -> str:
    match head.kind:
        case "trait":
            return _place(head) if not alone and head.words[0] in PLACES else MANY[head.words[0]]
        case "stem":
            return f"{head.words[0]}-"
        case _:
            return head.words[0]


def _piece(piece: str, places: list[Condition]) -> tuple[str, list[Condition]]:
    """`"sh" in names`, `space before years`: a token and the words that it is part of; and the other places."""
    kinds = [condition for condition in places if condition.words[0] in ONE]
    many = MANY[kinds[0].words[0]] if kinds else "numbers" if piece.isdigit() else "words"
    text = f"{piece} before {many}" if piece in SPACE_NAMES else f"{quoted(piece)} in {many}"
    return text, [condition for condition in places if condition not in kinds[:1]]


def _phrase(
    head: Condition | None, around: Sequence[Condition], places: Sequence[Condition], spelled: Mapping[str, str]
) -> str:
    """`"of" in "University of"`, when one word stands beside one other; else ""."""
    single = len(around) == 1 and around[0].kind == "word" and len(around[0].words) == 1 and around[0].at != "near"
    if places or head is None or head.kind != "word" or len(head.words) != 1 or not single:
        return ""
    word, other = (spelled.get(folded, folded) for folded in (head.words[0], around[0].words[0]))
    if not (word + other).translate(dict.fromkeys(map(ord, JOINERS))).isprintable() or {word, other} & SPACE_NAMES:
        return ""
    phrase = join_words([other, word] if around[0].at == "previous" else [word, other])
    text = f"{quoted(word)} in {quoted(phrase)}"
    return text if len(text) <= MAX_LENGTH else ""


def _place(condition: Condition) -> str:
    name = condition.words[0]
    return PLACES.get(name, f"as {ONE[name]}" if name in ONE else name)


def _around(condition: Condition, spelled: Mapping[str, str]) -> str:
    side = SIDES[condition.at]
    if condition.kind == "trait":
        return f"{side} {ONE[condition.words[0]]}"
    if condition.kind == "class":
        return f"{side} {condition.words[0]}"
    if condition.at == "near":
        return f"{side} {', '.join(condition.words)}"
    return f"{side} {' / '.join(quoted(spelled.get(word, word)) for word in condition.words)}"


def quoted(text: str) -> str:
    """A word in quotation marks; white space by its name."""
    mark = "'" if '"' in text else '"'
    return text if text in SPACE_NAMES else f"{mark}{text}{mark}"


def unique(texts: Iterable[str]) -> list[str]:
    """Texts that differ by more than case, in order."""
    seen: dict[str, str] = {}
    for text in texts:
        seen.setdefault(text.casefold(), text)
    return list(seen.values())


def fit(start: str, items: Iterable[str], separator: str = ", ") -> str:
    """As many items as MAX_LENGTH takes, at most MOST_ITEMS and at least one, which is cut if need be."""
    items = [item for item in items if item][:MOST_ITEMS]
    while len(items) > 1 and len(start + separator.join(items)) > MAX_LENGTH:
        items.pop()
    return cut(start + separator.join(items))


def cut(text: str) -> str:
    """At most MAX_LENGTH characters, whole words where there are several."""
    if len(text) <= MAX_LENGTH:
        return text
    kept = text[:MAX_LENGTH].rsplit(" ", 1)[0] if " " in text[:MAX_LENGTH] else text[:MAX_LENGTH]
    return kept.rstrip(" ,/:")


def join_words(parts: Iterable[str]) -> str:
    """Words with spaces between, but none before a mark that closes, after one that opens, or in scripts without."""
    text = ""
    for part in parts:
        close = not text or text.endswith(("(", "[", "“", "$")) or part[0] in ",.;:!?)]’'”%，。、！？：；"
        close = close or (is_unspaced(text[-1]) and is_unspaced(part[0]))
        text += part if close else f" {part}"
    return text
