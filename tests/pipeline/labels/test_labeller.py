"""Labels of planted features: each fires on places that share one thing, and the label must say it."""

import random
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.artifacts.features import EXAMPLES
from pipeline.arrays import Ints
from pipeline.labels.background import Background
from pipeline.labels.candidates import CandidateMaker
from pipeline.labels.evidence import read_evidence
from pipeline.labels.labeller import Label, Labeller
from pipeline.labels.pairs import Active
from pipeline.labels.rule import Condition, Rule
from pipeline.labels.scoring import Scorer
from pipeline.labels.text import RuleText
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
    """Texts as a corpus, training and held out. `|` cuts a word into two tokens; `*` marks, before a token, where a
    feature fires."""

    def __init__(self, folder: Path, places: list[str]) -> None:
        self.vocabulary: dict[bytes, int] = {}
        self.peaks: list[tuple[int, int]] = []
        training = [f"{other_words(100 + seed)} {place}" for seed, place in enumerate(places)]
        held_out = [f"{other_words(300 + seed)} {place}" for seed, place in enumerate([*places, *places])]
        documents = [self._read(row, text) for row, text in enumerate([*training, *held_out, *PLAIN])]
        chosen = range(len(training), len(training) + len(held_out))
        corpus = make_corpus(folder, documents, context_length=2048, held_out=[*chosen, len(documents) - 1])
        self.corpus, self.words = corpus, Words(list(self.vocabulary))
        numbers = corpus.sequence_numbers(held_out=True)
        text = RuleText(corpus, self.words, numbers, numbers[:0], lambda tokens: np.ones(len(tokens), bool))
        maker = CandidateMaker(self.words, Background(corpus, self.words))
        self.labeller = Labeller(maker, Scorer(text))
        lengths = corpus.sequences["length"][numbers].astype(np.int64)
        first = dict(zip(corpus.sequences["document"][numbers].tolist(), np.cumsum(lengths) - lengths, strict=True))
        tokens = [first[row] + position for row, position in self.peaks if row in first]
        self.active = Active(np.array(tokens, np.int64), np.ones(len(tokens), np.float32))
        self.examples = [peak for peak in self.peaks if peak[0] < len(training)]

    def _read(self, row: int, text: str) -> list[int]:
        tokens: list[int] = []
        for part in re.split(r"(\*|\|)", text):
            if part == "*":
                self.peaks.append((row, len(tokens)))
            elif part != "|":
                tokens += [self.vocabulary.setdefault(t.encode(), len(self.vocabulary)) for t in TOKEN.findall(part)]
        return tokens

    def table(self, kind: int = 0, band: int = -1) -> pa.Table:
        rows = []
        for rank, (document, position) in enumerate(self.examples):
            length = len(self.corpus.document_tokens(document))
            start = max(0, position - 40)
            row = dict.fromkeys(EXAMPLES.names, 0) | {"offsets": [], "values": [], "band": band, "kind": kind}
            row |= {"rank": rank, "document": document, "position": position, "start": start}
            rows.append(row | {"length": min(length, position + 41) - start, "index": 7})
        return pa.Table.from_pylist(rows, schema=EXAMPLES)

    def label(self, **kind: int) -> Label:
        background = self.labeller.maker.background
        found = dict(read_evidence(self.table(**kind), 5, self.corpus, self.words, background))
        return self.labeller.label(found.get(7), self.active, 1.0, rare=False)


PLAIN = [*map(other_words, range(12)), "He saw the house of a friend (a House) in the city, and the end of it came."]
CASES = {
    "University": ["a* University", "the* University", "no* University", "his* university."],
    '"of" in "University of"': [
        "the University* of Vienna",
        "a University* of Arts",
        "University* of Kent",
        "end of it",
    ],
    '"York" in "New York"': ["went to New* York once", "in New* York the", "of New* York", "a York in"],
    "song / album": ["a fine* song here", "that old* album now"] * 3,
    '"," after a year': ["In 1984*, he", "By 1776*, all, it", "In 2001*, none", "of 1912*, they, or"],
    "years: 1984, 1776, 2001, 1912": ["In* 1984 he", "By* 1776 all 12", "In* 2001 none 7", "of* 1912 they"],
    "months: May, June, July, April": ["in* May he", "of* June so", "by* July all", "in* April none", "* March it"],
    "play-: played, playing, plays": ["he* played", "she was* playing", "they* played", "nobody* plays"],
    "-ity: gravity, dignity, parity, charity": [
        "so* gravity",
        "then* dignity",
        "dogs* parity",
        "Anna* charity",
        "up* vanity",
    ],
    "the start of a line: Stone, Paper, Glass, Iron": [
        "it.\n*Stone falls",
        "up\n*Paper burns",
        "so\n*Glass",
        "or\n*Iron",
    ],
    'before "of": middle, edge, bottom, size': ["* middle of", "an* edge of", "her* bottom of", "my* size of"],
    "names: Anna, Boris, Carla, Dmitri": ["and* Anna", "so* Boris", "or* Carla", "then* Dmitri", "if* Egon"],
}


@pytest.mark.parametrize("expected", CASES)
def test_a_planted_feature_is_named(expected: str, tmp_path: Path) -> None:
    label = World(tmp_path, CASES[expected]).label()
    assert label.text == expected
    assert label.tried is not None
    assert label.tried.score.precision > 0.75
    assert label.tried.score.recall > 0.7
    assert label.tested_on == "held-out"


def test_what_no_rule_tells_is_unlabelled_with_its_words(tmp_path: Path) -> None:
    places = ["and* slowly go", "a* green one", "it* came to", "why* birds ate", "in* night so", "ten* end up"]
    world = World(tmp_path, places)
    label = world.label()
    assert label.text == ""
    assert label.words == ("slowly", "green", "came", "birds")


def test_a_rule_that_fails_on_other_text_is_no_label(tmp_path: Path) -> None:
    world = World(tmp_path, ["a* city so", "the* city", "no* city", "his* city"])
    elsewhere = np.flatnonzero(~np.isin(np.arange(400), world.active.tokens))[::9]
    world.active = Active(elsewhere, np.ones(len(elsewhere), np.float32))
    assert world.label().text == ""


def active_too(active: Active, elsewhere: Ints, strength: float) -> Active:
    """The same activity, and more on other tokens."""
    tokens = np.unique(np.concatenate([active.tokens, elsewhere]))
    return Active(tokens, np.where(np.isin(tokens, elsewhere), strength, 1).astype(np.float32))


def label_of_little_recall(world: World, num_elsewhere: int) -> Label:
    """Its label where it is stronger on words that no rule tells."""
    elsewhere = np.flatnonzero(~np.isin(np.arange(400), world.active.tokens))[::7][:num_elsewhere]
    world.active = active_too(world.active, elsewhere, 2)
    return world.label()


def test_a_typical_word_that_is_always_right_is_a_label_though_it_recalls_little(tmp_path: Path) -> None:
    typical = ["a* harbour so", "the* harbour", "no* harbour", "his* harbour", "and* slowly go"]
    label = label_of_little_recall(World(tmp_path, typical), 20)
    assert label.text == "harbour"
    assert label.tried is not None
    assert label.tried.score.precision == 1
    assert 0.15 < label.tried.score.value < 0.3


@pytest.mark.parametrize(
    ("places", "num_elsewhere"),
    [
        (["a* harbour so", "the* harbour", "no* harbour", "his* green one", "it* came to", "why* birds ate"], 12),
        (["a* harbour so", "the* harbour", "no* harbour", "his* harbour", "and* slowly go"], 50),
        (["a* harbour so", "the* harbour"], 5),
    ],
    ids=["of few examples", "of too little", "seen too seldom"],
)
def test_a_word_that_is_always_right_is_no_label(places: list[str], num_elsewhere: int, tmp_path: Path) -> None:
    label = label_of_little_recall(World(tmp_path, places), num_elsewhere)
    assert label.text == ""
    assert label.tried is not None
    assert label.tried.score.precision == 1


def test_a_rule_that_is_wrong_too_often_gives_way_to_a_better_one(tmp_path: Path) -> None:
    others = "it, end of, part of, bit of, lot of, sum of, lack of,"
    world = World(tmp_path, [f"{word} release* of {others}" for word in ("the", "a", "no")])
    sum_of = world.active.tokens[:4] + 16
    world.active = active_too(world.active, sum_of, 2.45)
    trial = world.labeller.scorer.trial(world.active, False, 2.45)
    assert trial is not None
    of = trial.best([Rule((Condition("here", "word", ("of",)),))])
    assert of is not None
    assert of.score.precision < 0.3
    label = world.label()
    assert label.text == '"of" in "release of"'
    assert label.tried is not None
    assert 0.3 < label.tried.score.value < of.score.value


def test_upper_bands_count_and_lower_do_not(tmp_path: Path) -> None:
    world = World(tmp_path, ["a* University", "the* University", "no* University"])
    assert world.label(kind=3, band=4).text == "University"
    assert world.label(kind=3, band=1) == Label()


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
    numbers = np.arange(3)
    index = RuleText(corpus, words, numbers, numbers[:0], lambda tokens: np.ones(len(tokens), bool))
    labeller = Labeller(CandidateMaker(words, background), Scorer(index))
    active = Active(np.array([1, 4, 7]), np.ones(3, np.float32))
    label = labeller.label(found[0], active, 1.0, rare=False).text
    assert shown in label
    assert label.isprintable()
    assert 0 < len(label) <= MAX_LENGTH


def test_long_labels_are_cut_between_words_and_end_in_no_dots() -> None:
    assert fit("near: ", ["a" * 20, "b" * 20, "c" * 20]) == f"near: {'a' * 20}, {'b' * 20}"
    assert len(fit("", ["x" * 80])) == len(cut("y" * 80)) == MAX_LENGTH
    assert cut("word " * 20) == " ".join(["word"] * 9)


def test_phrases_read_as_text() -> None:
    assert join_words(["University", "of"]) == "University of"
    assert join_words(["1980", ",", "he"]) == "1980, he"
    assert join_words(["(", "born", ")"]) == "(born)"
    assert join_words(["我", "喜欢", "，", "GPT", "北京"]) == "我喜欢， GPT 北京"
    assert join_words(["ประเทศ", "ไทย"]) == "ประเทศไทย"
