"""Labels of planted features: each fires on places that share one thing, and the label must say it."""

import random
import re
from pathlib import Path

import pyarrow as pa
import pytest

from data.artifacts.features import EXAMPLES
from pipeline.labels.evidence import Background, read_evidence
from pipeline.labels.rules import Label, Labeller
from pipeline.labels.wording import MAX_LENGTH, cut, fit, join_words
from pipeline.labels.words import Words
from tests.support.fakes import make_corpus

# A digit, a piece after "|", a line break, or a word with the space before it is one token, as in byte-level BPE.
TOKEN = re.compile(r"\n| (?=\d)|\d| ?[^\W\d_]+| ?[^\w\s]|\s", re.UNICODE)


def other_words(seed: int) -> str:
    """Sentences of made-up words, so that what the cases share is rare."""
    rng = random.Random(seed)
    made = ["".join(rng.choices("aeioubcdfgklmnprst", k=rng.randint(3, 8))) for _ in range(60)]
    sentences = [" ".join(rng.choices(made, k=rng.randint(4, 14))).capitalize() for _ in range(60)]
    return ". ".join(sentences) + "."


class World:
    """Texts as a corpus. `|` cuts a word into two tokens; `*` marks, before a token, where a feature fires."""

    def __init__(self, folder: Path, texts: list[str], plain: list[str] | None = None) -> None:
        self.vocabulary: dict[bytes, int] = {}
        documents, self.peaks = [], []
        for row, text in enumerate([*texts, *(plain or [])]):
            tokens: list[int] = []
            for part in re.split(r"(\*|\|)", text):
                if part == "*":
                    self.peaks.append((row, len(tokens)))
                elif part != "|":
                    tokens += [self.id_of(token) for token in TOKEN.findall(part)]
            documents.append(tokens)
        self.corpus = make_corpus(folder, documents, context_length=2048)
        self.words = Words(list(self.vocabulary))
        self.labeller = Labeller(self.words, Background(self.corpus, self.words))

    def id_of(self, token: str) -> int:
        return self.vocabulary.setdefault(token.encode(), len(self.vocabulary))

    def examples(self, kind: int = 0) -> pa.Table:
        rows = []
        for rank, (document, position) in enumerate(self.peaks):
            length = len(self.corpus.document_tokens(document))
            start = max(0, position - 40)
            row = dict.fromkeys(EXAMPLES.names, 0) | {"offsets": [], "values": [], "band": -1, "kind": kind}
            row |= {"rank": rank, "document": document, "position": position, "start": start}
            rows.append(row | {"length": min(length, position + 41) - start, "index": 7})
        return pa.Table.from_pylist(rows, schema=EXAMPLES)

    def said(self, promoted: list[bytes] | None = None, kind: int = 0) -> Label:
        found = dict(read_evidence(self.examples(kind), 5, self.corpus, self.words, self.labeller.background))
        return self.labeller.label(found.get(7), [self.vocabulary[token] for token in promoted or [b" the"]])

    def label(self, promoted: list[bytes] | None = None, kind: int = 0) -> str:
        return self.said(promoted, kind).text


def texts_of(*places: str) -> list[str]:
    return [f"{other_words(100 + seed)} {place}" for seed, place in enumerate(places)]


PLAIN = [*map(other_words, range(12)), "He saw the house of a friend (a House) in the city, and the end of it came."]
CASES = {
    "University": texts_of("a* University", "the* University", "no* University", "his* university."),
    '"of" in "University of"': texts_of("the University* of Vienna", "a University* of Arts", "University* of Kent"),
    '"York" in "New York"': texts_of("went to New* York once", "in New* York the", "of New* York"),
    "song / album": texts_of(*["a fine* song here", "that old* album now"] * 3),
    '"," after a year': texts_of("In 1984*, he", "By 1776*, all", "In 2001*, none", "of 1912*, they"),
    "years: 1984, 1776, 2001, 1912": texts_of("In 1*984 he", "By 1*776 all", "In 2*001 none", "of 1*912 they"),
    '"7" in numbers: 17, 74, 357, 879': texts_of("some 1*7 men", "his *74", "a 35*7", "so 8*79"),
    "space before numbers: 17, 94, 38, 86": texts_of("some* 17 men", "his* 94 men", "the* 38 men", "or* 86 men"),
    "played / playing": texts_of("he* played", "she was* playing", "they* played", "nobody* plays"),
    "-ed: jumped, moved, opened, turned": texts_of(
        "he* jumped", "she* moved", "we* opened", "who* turned", "I* walked"
    ),
    "-ville: Nashville, Knoxville, Seville": texts_of(
        "in Nash*|ville", "of Knox*|ville now", "at Se*|ville", "in Nash*|ville"
    ),
    "the start of a text: Stone, Paper": ["*Stone falls.", "*Paper burns.", "*Glass breaks.", "*Iron rusts."],
    "the start of a line: Stone, Paper": texts_of("it.\n*Stone falls", "up\n*Paper burns", "so\n*Glass", "or\n*Iron"),
    "the start of a sentence: Stone, Paper": texts_of("it.* Stone is", "up.* Paper is", "so!* Glass", "or.* Iron"),
    "inside brackets: stone, paper": texts_of(
        "it (also* stone)", "up (from* paper)", "so (in* glass)", "or (an* iron)"
    ),
    'before "of": middle, edge, bottom, size': texts_of("* middle of", "an* edge of", "her* bottom of", "my* size of"),
    "near: army, war": texts_of(
        "war with an army* lost it", "war, army all* gone", "army at war* far", "war or army* out"
    ),
    "names: Anna, Boris, Carla, Dmitri": texts_of("and* Anna", "so* Boris", "or* Carla", "then* Dmitri", "if* Egon"),
    "ba-: banker, baron, basket, banner": texts_of("no* banker", "or* baron", "a* basket", "my* banner", "to* bargain"),
    "→ house, city": texts_of("and* slowly so", "a* green one", "it* came to", "some* birds ate"),
}


@pytest.mark.parametrize("expected", CASES)
def test_a_planted_feature_is_named(expected: str, tmp_path: Path) -> None:
    world = World(tmp_path, CASES[expected], PLAIN)
    assert world.label([b" house", b" city", b" House"]) == expected


SCORES = {
    "all the same word": (texts_of("a* city", "the* city", "no* city", "his* city"), "city", 1.0),
    "three of four": (texts_of("a* city", "the* city", "no* city", "his* dog"), "city", 3 / 4),
    "one of two words": (texts_of(*["a fine* song here", "that old* album now"] * 3, "a* dog"), "song / album", 6 / 7),
    "the word, but not always its neighbour": (
        texts_of("a University* of Vienna", "my University* of Arts", "University* of Kent", "the University* in Rome"),
        '"of" in "University of"',
        3 / 4,
    ),
    "the smaller of two shares": (
        texts_of("In 1984*, he", "By 1776*, all", "In 2001*, none", "of 1912*, they", "in 1815*. They"),
        '"," after a year',
        4 / 5,
    ),
    "most words end alike": (
        texts_of("he* jumped", "she* moved", "we* opened", "who* turned", "I* walked", "so* quick"),
        "-ed: jumped, moved, opened, turned",
        5 / 6,
    ),
    "the best of near words": (
        texts_of("war with an army* lost it", "war, army all* gone", "army at war* far", "army there* out"),
        "near: army, war",
        1.0,
    ),
    "some of the words": (texts_of("and* slowly so", "a* green one", "it* came to", "some* birds at"), None, 3 / 4),
}


@pytest.mark.parametrize("case", SCORES)
def test_the_score_is_the_share_of_the_examples_that_fit(case: str, tmp_path: Path) -> None:
    places, text, score = SCORES[case]
    said = World(tmp_path, [*places, "a tam|ely"], PLAIN).said([b"ely", b" the"])
    assert text in (said.text, None)
    assert said.score == pytest.approx(score)


def test_what_a_feature_promotes_has_no_score(tmp_path: Path) -> None:
    places = texts_of("and* slowly so", "a* green one", "it* came to", "some* birds ate")
    assert World(tmp_path, places, PLAIN).said([b" house", b" city", b" House"]) == ("→ house, city", None)


def test_upper_bands_count_and_lower_do_not(tmp_path: Path) -> None:
    world = World(tmp_path, texts_of("a* University", "the* University", "no* University"), PLAIN)
    for band, expected in ((4, "University"), (1, "→ the")):
        table = world.examples(kind=3)
        table = table.set_column(3, "band", pa.array([band] * len(table), pa.int8()))
        found = dict(read_evidence(table, 5, world.corpus, world.words, world.labeller.background))
        assert world.labeller.label(found.get(7), [world.vocabulary[b" the"]]).text == expected


def test_some_words_when_nothing_is_shared_and_no_words_are_promoted(tmp_path: Path) -> None:
    places = texts_of("and* slowly so", "a* green one", "it* came to", "some* birds at")
    world = World(tmp_path, [*places, "a tam|ely"], PLAIN)
    assert world.label([b"ely", b" the"]) == "slowly, green, came, …"


def test_one_example_is_enough(tmp_path: Path) -> None:
    assert World(tmp_path, texts_of("the only* unicorn"), PLAIN).label() == "unicorn"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"\n\n", "blank line"),
        (b"\t", "tab"),
        (b"  ", "spaces"),
        (b"\x00\x1b", "control character"),
        (b" \xe2\x80", "byte e280"),
        (b" a\x00b\xe2\x80\x8fc", "abc"),
        ("\u202eevil".encode(), "evil"),
        (b"<script>", "<script>"),
    ],
)
def test_labels_are_printable(text: bytes, shown: str, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, [[0, 1, 0]] * 3, 64)
    words = Words([b" it", text])
    row = dict.fromkeys(EXAMPLES.names, 0) | {"offsets": [], "values": [], "band": -1}
    rows = [row | {"document": d, "position": 1, "length": 3, "rank": d} for d in range(3)]
    background = Background(corpus, words)
    found = dict(read_evidence(pa.Table.from_pylist(rows, schema=EXAMPLES), 5, corpus, words, background))
    label = Labeller(words, background).label(found[0], [0]).text
    assert shown in label
    assert label.isprintable()
    assert 0 < len(label) <= MAX_LENGTH


def test_long_labels_are_cut() -> None:
    assert fit("near: ", ["a" * 20, "b" * 20, "c" * 20]) == f"near: {'a' * 20}, {'b' * 20}"
    assert len(fit("", ["x" * 80])) == len(cut("y" * 80)) == MAX_LENGTH
    assert fit("", ["a", "b", "c", "d", "e"], end=", …") == "a, b, c, d, …"


def test_phrases_read_as_text() -> None:
    assert join_words(["University", "of"]) == "University of"
    assert join_words(["1980", ",", "he"]) == "1980, he"
    assert join_words(["(", "born", ")"]) == "(born)"
