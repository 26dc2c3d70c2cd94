"""Lists of concepts as plain text, as they come with the pipeline and as people upload them.

    # London boroughs            the title; without it the list is called by its first concept
    > She moved to {}            a prompt: what stands before each concept; without any, TEMPLATES
    Camden                       a concept
    aluminium | aluminum         another, with a second spelling
    lead ~                       another that is also an ordinary word or a name, in another sense

A concept that is a name is written with capitals, and found in text only so; any other is found with and without a
capital at its beginning. Both are also found in the plural. Senses are not told apart, so a concept that has another is
shown apart from the rest, and not counted.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from data.errors import ConfigError

TITLE, PROMPT, OR, AMBIGUOUS, PLACE = "#", ">", "|", "~", "{}"
TEMPLATES = ("A book about {}", "They talked about {}", "He wrote down {}", "The story of {}")
"""Prompts of a list that has none of its own."""
MAX_CONCEPTS, MAX_SPELLINGS, MAX_TEMPLATES = 500, 4, 6
MAX_CHARACTERS = 60
"""Of a concept, and of a title."""
MAX_TEMPLATE = 80
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True)
class Concept:
    """Something that a text may speak of."""

    spellings: tuple[str, ...]
    """As it is written, the usual first."""
    ambiguous: bool = False
    """Whether it is also an ordinary word or a name, in another sense."""

    @property
    def name(self) -> str:
        return self.spellings[0]


@dataclass(frozen=True)
class ConceptList:
    """Concepts of one kind."""

    title: str
    templates: tuple[str, ...]
    """What stands before a concept, with PLACE at its end."""
    concepts: tuple[Concept, ...]

    def prompts(self, concept: Concept) -> list[str]:
        """Texts that end with a concept, one for each template."""
        return [template.replace(PLACE, concept.name) for template in self.templates]

    @cached_property
    def digest(self) -> str:
        """Names the content."""
        parts = [self.title, *self.templates, *map(_digest_line, self.concepts)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _digest_line(concept: Concept) -> str:
    return OR.join(concept.spellings) + AMBIGUOUS * concept.ambiguous


def parse_concepts(text: str, what: str = "The list") -> ConceptList:
    """A list of concepts. what: what to call it in messages.

    Raises ConfigError that names the line and says what to do.
    """
    title, templates, concepts = "", [], []
    for number, line in enumerate(text.splitlines(), 1):
        line, where = " ".join(line.split()), f"{what}, line {number}"
        if line.startswith(TITLE):
            title = title or _short(line[1:].strip(), MAX_CHARACTERS, where)
        elif line.startswith(PROMPT):
            templates.append(_template(line[1:].strip(), where))
        elif line:
            concepts.append(_concept(line, where))
    if not concepts:
        raise ConfigError(f"{what} has no concepts: write one a line, such as Camden.")
    for most, found, kind in ((MAX_CONCEPTS, concepts, "concepts"), (MAX_TEMPLATES, templates, "prompts")):
        if len(found) > most:
            raise ConfigError(f"{what} has {len(found):,} {kind}, at most {most:,} can be measured: shorten it.")
    _refuse_twice([spelling for one in concepts for spelling in one.spellings], what)
    _refuse_twice(templates, what)
    return ConceptList(title or f"{concepts[0].name} and others", tuple(templates) or TEMPLATES, tuple(concepts))


def kin_of(concepts: list[Concept]) -> list[tuple[int, int]]:
    """Pairs of different concepts, both ways round, one of which has all the words of the other in a row.

    Georgia the state and Georgia the country, Guinea and Equatorial Guinea: a feature of one may fire on the other.
    """
    phrases = [[tuple(_WORDS.findall(text.casefold())) for text in one.spellings] for one in concepts]
    holders: dict[tuple[str, ...], set[int]] = {}
    for number, own in enumerate(phrases):
        for words in own:
            for start in range(len(words)):
                for stop in range(start + 1, len(words) + 1):
                    holders.setdefault(words[start:stop], set()).add(number)
    pairs = {
        (number, other)
        for number, own in enumerate(phrases)
        for words in own
        for other in holders.get(words, ())
        if other != number
    }
    return sorted(pairs | {(other, number) for number, other in pairs})


def _concept(line: str, where: str) -> Concept:
    ambiguous = line.endswith(AMBIGUOUS)
    spellings = tuple(part.strip() for part in line.removesuffix(AMBIGUOUS).split(OR))
    if len(spellings) > MAX_SPELLINGS:
        raise ConfigError(
            f"{where} has {len(spellings)} spellings, at most {MAX_SPELLINGS} are looked for: leave some."
        )
    for spelling in spellings:
        _short(spelling, MAX_CHARACTERS, where)
        if not _WORDS.search(spelling):
            raise ConfigError(f"{where} has a concept without a letter or digit ('{spelling}'): write it as a word.")
    return Concept(spellings, ambiguous)


def _template(text: str, where: str) -> str:
    _short(text, MAX_TEMPLATE, where)
    if not text.endswith(" " + PLACE) or text.count(PLACE) != 1:
        raise ConfigError(f"{where} is no prompt: it ends with a space and {PLACE}, where the concept stands.")
    return text


def _short(text: str, most: int, where: str) -> str:
    if len(text) > most:
        raise ConfigError(f"{where} has {len(text):,} characters, at most {most} fit: one concept a line, and short.")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Co", "Cn"} or character == "\ufffd" for character in text):
        raise ConfigError(f"{where} has a character that is not text: give a plain text file in UTF-8.")
    return text


def _refuse_twice(texts: list[str], what: str) -> None:
    for text, times in Counter(texts).items():
        if times > 1:
            raise ConfigError(f"{what} has '{text}' twice: remove one.")
