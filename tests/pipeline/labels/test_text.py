"""Rules on text, against a plain reading of it token by token; and scores of planted rules."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from pipeline.labels import text
from pipeline.labels.background import affixes_of
from pipeline.labels.classes import classes_of
from pipeline.labels.pairs import Active
from pipeline.labels.rule import AFTER, BEFORE, Condition, Rule
from pipeline.labels.scoring import LEAST_ACTIVE, MARGIN, Needed, Scorer
from pipeline.labels.text import RuleText
from pipeline.labels.words import Words
from tests.support.fakes import make_corpus

VOCABULARY = [
    " the", " The", " of", " king", " Kings", "dom", " played", " moved", " in", " 1984", ".", ",", "\n", " (", ")",
    " June", " may", " player", " a", " NATO",
]  # fmt: skip
HELD_OUT, TRAINING = (1, 3), (0, 2, 4)
LEFT_OUT = {5, 17, 40}


class Plain:
    """The same text read naively: words as lists of token numbers, one sequence after the other."""

    def __init__(self, sequences: list[list[int]]) -> None:
        self.sequences: list[list[tuple[str, list[int]]]] = []
        number = 0
        for tokens in sequences:
            words: list[tuple[str, list[int]]] = []
            for token in tokens:
                piece = VOCABULARY[token]
                joins = words and (
                    (piece == "dom" and words[-1][0][-1:].isalpha() and words[-1][0].strip())
                    or (piece == "\n" and words[-1][0].endswith("\n"))
                )
                if joins:
                    words[-1] = (words[-1][0] + piece, [*words[-1][1], number])
                else:
                    words.append((piece, [number]))
                number += 1
            self.sequences.append([(self.name(text), numbers) for text, numbers in words])
        self.pieces = [VOCABULARY[token] for tokens in sequences for token in tokens]

    @staticmethod
    def name(text: str) -> str:
        return text.strip() or ("blank line" if text.count("\n") > 1 else "line break")

    def holds(self, condition: Condition, words: list[tuple[str, list[int]]], at: int) -> bool:
        """Whether it holds at a word; pieces and words near are asked by token."""
        place = at + {"here": 0, "previous": -1, "next": 1}[condition.at]
        if not 0 <= place < len(words):
            return False
        text = words[place][0]
        before = words[place - 1][0] if place else ""
        folded = text.casefold()
        starts_line = before in ("line break", "blank line")
        starts = not before or starts_line or before[-1:] in ".!?"
        match condition.kind:
            case "word":
                return folded in condition.words
            case "class":
                return any(name in classes_of(folded) for name in condition.words)
            case "stem":
                return folded.startswith(condition.words) and folded.isalpha()
            case "affix":
                return any(affix in affixes_of(folded) for affix in condition.words)
            case _:
                traits = {
                    "year": text == "1984",
                    "number": text[0].isdigit(),
                    "name": text[0].isupper() and not starts,
                    "acronym": len(text) > 1 and text.isupper() and text.isalpha(),
                    "text start": not before,
                    "line start": starts_line,
                    "sentence start": starts,
                }
                return any(traits[name] for name in condition.words)

    def tokens(self, rule: Rule) -> list[int]:
        found = []
        for words in self.sequences:
            for at, (_, numbers) in enumerate(words):
                for number in numbers:
                    part = {"any": True, "first": number == numbers[0], "last": number == numbers[-1]}[rule.part]
                    if part and number not in LEFT_OUT and all(self.at(c, words, at, number) for c in rule.conditions):
                        found.append(number)
        return found

    def at(self, condition: Condition, words: list[tuple[str, list[int]]], at: int, number: int) -> bool:
        if condition.kind == "piece":
            return self.pieces[number].strip().casefold() in condition.words
        if condition.at == "near":
            return any(
                other != at and text.casefold() in condition.words and -AFTER <= number - numbers[0] <= BEFORE
                for other, (text, numbers) in enumerate(words)
            )
        return self.holds(condition, words, at)


CONDITIONS = [
    Condition("here", "word", ("the",)),
    Condition("here", "word", ("kings", "kingsdom", "missing")),
    Condition("here", "class", ("months",)),
    Condition("here", "stem", ("king",)),
    Condition("here", "affix", ("-ed",)),
    Condition("here", "piece", ("dom",)),
    Condition("here", "trait", ("year",)),
    Condition("here", "trait", ("name",)),
    Condition("here", "trait", ("acronym",)),
    Condition("here", "trait", ("sentence start",)),
    Condition("here", "trait", ("line start",)),
    Condition("here", "trait", ("text start",)),
    Condition("previous", "word", ("of", "in")),
    Condition("previous", "class", ("articles",)),
    Condition("previous", "trait", ("name",)),
    Condition("next", "word", (",",)),
    Condition("next", "trait", ("number",)),
    Condition("near", "word", ("june", "played")),
]
MORE_CONDITIONS = [
    *CONDITIONS,
    Condition("here", "word", ("missing",)),
    Condition("next", "class", ("months", "articles")),
    Condition("previous", "stem", ("king", "play")),
    Condition("here", "affix", ("-ed", "pl-", "none-")),
    Condition("here", "piece", ("the", "king")),
    Condition("next", "trait", ("year", "acronym")),
    Condition("near", "word", ("the",)),
    Condition("near", "word", ("missing", "nato")),
]


class World:
    """A random text, indexed and plain."""

    def __init__(self, folder: Path) -> None:
        rng = random.Random(4)
        documents = [[rng.randrange(len(VOCABULARY)) for _ in range(rng.randint(60, 90))] for _ in range(5)]
        corpus = make_corpus(folder, documents, 512, held_out=HELD_OUT)
        self.plain = Plain([documents[number] for number in (*HELD_OUT, *TRAINING)])
        self.words = Words([piece.encode() for piece in VOCABULARY])
        self.text = RuleText(
            corpus,
            self.words,
            np.array(HELD_OUT),
            np.array(TRAINING),
            lambda numbers: ~np.isin(numbers, sorted(LEFT_OUT)),
        )
        self.num_held_out = sum(len(documents[number]) for number in HELD_OUT)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("part", ["any", "first", "last"])
def test_a_rule_finds_the_tokens_that_a_plain_reading_finds(world: World, part: str) -> None:
    pairs = [(one,) for one in CONDITIONS] + [(one, other) for one in CONDITIONS for other in CONDITIONS]
    found = 0
    for conditions in pairs:
        rule = Rule(conditions, part)
        expected = world.plain.tokens(rule)
        assert world.text.tokens(rule).tolist() == expected, rule
        found += len(expected) > 0
    assert found > len(pairs) / 3


@pytest.mark.parametrize("part", ["any", "first", "last"])
def test_counts_and_flags_of_a_rule_agree_with_its_tokens(
    world: World, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = np.setdiff1d(np.arange(world.text.num_tokens), sorted(LEFT_OUT))
    for one in MORE_CONDITIONS:
        assert everywhere[world.text.holds(one, everywhere)].tolist() == world.plain.tokens(Rule((one,))), one
        for conditions in ((one,), *((one, other) for other in MORE_CONDITIONS)):
            rule = Rule(conditions, part)
            expected = world.plain.tokens(rule)
            for often, limit in itertools.product((0, 40, 1 << 30), (0, world.num_held_out, world.text.num_tokens)):
                monkeypatch.setattr(text, "OFTEN", often)
                assert world.text.count(rule, limit) == sum(number < limit for number in expected), rule


def test_a_rule_of_words_that_were_met_later_names_nothing(world: World) -> None:
    known = Condition("here", "affix", ("-ed",))
    assert world.text.count(Rule((known,)), world.text.num_tokens) > 0
    world.words.windows(np.array([[3, 5, 5, 5, 5]]))  # a word that the text has not
    later = Condition("here", "word", ("kingdomdomdomdom",))
    assert world.words.folded_number(later.words[0]) > 0
    assert world.text.tokens(Rule((later,))).tolist() == []
    assert world.text.count(Rule((later,)), world.text.num_tokens) == 0
    assert not world.text.holds(later, np.arange(world.text.num_tokens)).any()


def test_rules_survive_json() -> None:
    rule = Rule((CONDITIONS[1], CONDITIONS[-1]), "last")
    assert Rule.from_json(rule.to_json()) == rule


@pytest.mark.parametrize("rare", [False, True])
def test_the_best_rule_has_the_score_of_a_plain_count(world: World, rare: bool) -> None:
    planted = Rule((CONDITIONS[0],))
    others = [Rule((condition,)) for condition in CONDITIONS[1:]]
    limit = world.text.num_tokens if rare else world.num_held_out
    on = world.plain.tokens(planted)[::2]
    extra = [number for number in range(world.text.num_tokens) if world.plain.pieces[number] == ")"][::3]
    tokens = np.array(sorted({*on, *extra}), np.int64)
    values = np.random.default_rng(0).uniform(0.1, 1, len(tokens)).astype(np.float32)
    values[np.isin(tokens, on)] += 3
    trial = Scorer(world.text).trial(Active(tokens, values), rare, 4.0)
    assert trial is not None
    best = trial.best([*others, planted])
    assert best is not None
    assert best.rule == planted
    said = [number for number in world.plain.tokens(planted) if number < limit]
    value = {t: v for t, v in zip(tokens.tolist(), values.tolist(), strict=True) if t < limit}
    assert best.score.said == len(said)
    assert best.score.precision == pytest.approx(sum(number in value for number in said) / len(said))
    hit = [value[number] for number in said if number in value]
    assert best.score.recall == pytest.approx(sum(hit) / sum(value.values()))
    strong = sum(v * v for v in hit) / sum(v * v for v in value.values())
    assert best.score.strong_recall == pytest.approx(strong)
    precision = best.score.precision
    assert best.score.value == pytest.approx(2 * precision * strong / (precision + strong))
    for level, covered in zip((0, 0.8, 1.6, 2.4, 3.2), best.levels, strict=True):
        above = [number for number, v in value.items() if v >= level]
        assert covered == pytest.approx(sum(number in said for number in above) / len(above))


@pytest.mark.parametrize(
    "needed", [Needed(), Needed(precision=0.4), Needed(score=0.2), Needed(said=30), Needed(0.1, 0.35, 10), Needed(1.0)]
)
def test_the_best_rule_is_one_that_reaches_what_is_needed(world: World, needed: Needed) -> None:
    rules = [Rule((condition,)) for condition in CONDITIONS]
    rng = np.random.default_rng(3)
    on = world.plain.tokens(rules[0])[::2]
    tokens = np.unique([*on, *rng.choice(world.text.num_tokens, 60)])
    trial = Scorer(world.text).trial(Active(tokens, rng.uniform(1, 2, len(tokens)).astype(np.float32)), True, 2.0)
    assert trial is not None
    alone = [tried.score for rule in rules if (tried := trial.best([rule]))]
    reaching = [
        one
        for one in alone
        if one.value > needed.score and one.precision >= needed.precision and one.said >= needed.said
    ]
    assert len(reaching) < len(alone) or needed == Needed()
    best = trial.best(rules, needed)
    assert (best is not None) == bool(reaching)
    if best is not None:
        assert best.score in reaching
        assert best.score.value > max(one.value for one in reaching) - MARGIN


def test_too_few_tokens_prove_nothing(world: World) -> None:
    tokens = np.arange(LEAST_ACTIVE - 1)
    active = Active(tokens, np.ones(len(tokens), np.float32))
    assert Scorer(world.text).trial(active, True, 1.0) is None


def test_words_that_were_met_after_the_first_question_are_in_no_text(tmp_path: Path) -> None:
    """Examples bring words that the text has not, a class's among them."""
    words = Words([piece.encode() for piece in (" the", " king", " kmh")])
    corpus = make_corpus(tmp_path, [[0, 1, 0, 1]], 512, bos_id=None)
    read = RuleText(corpus, words, np.array([0]), np.empty(0, np.int64), lambda numbers: numbers >= 0)
    assert read.count(Rule((Condition("here", "stem", ("ki",)),)), 4) > 0
    words.windows(np.array([[2]]))
    (name,) = classes_of("kmh")
    assert not read.holds(Condition("here", "class", (name,)), np.arange(3)).any()
    assert read.count(Rule((Condition("here", "class", (name,)),)), 4) == 0
