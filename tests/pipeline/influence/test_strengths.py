"""Curves over strengths: a planted feature raises its token until the text breaks; batched equals one at a time."""

import math
from dataclasses import replace

import pytest
import torch

from pipeline.influence import writing
from pipeline.influence.responses import MAX_RATIO
from pipeline.influence.strengths import HeldFeature, Point, StrengthMeter, break_of, peak_of
from pipeline.influence.writing import Opening, Writer
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe.influence import StrengthsConfig
from tests.support.models import byte_tokenizer, tiny_language_model, tiny_sae

MARK, PLANTED = "#", 3
TOKENIZER = Tokenizer(byte_tokenizer())
OPENINGS = [Opening("I am a", False), Opening("She is the", False)]
STRENGTHS = (-1.0, 0.5, 1.0, 2.0, 4.0, 8.0)
CONFIG = StrengthsConfig(
    strengths=STRENGTHS, openings=("I am a", "She is the"), positions=4, text_strengths=(0.5, 1.0), new_tokens=6
)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return tiny_language_model()


@pytest.fixture(scope="module")
def sae(model: LanguageModel) -> SAE:
    """One of its features writes along the unembedding of MARK."""
    sae = tiny_sae()
    scale_D, W_U_VD = model.unembedding()
    direction_D = W_U_VD[TOKENIZER.encode(MARK)[0]] * scale_D
    sae.W_dec_FD[PLANTED] = direction_D / direction_D.norm()
    return sae


@pytest.fixture
def meter(model: LanguageModel, sae: SAE) -> StrengthMeter:
    return StrengthMeter(Writer(model, TOKENIZER, {sae.header.name: sae}, 1e6), OPENINGS, CONFIG, {})


def feature(index: int, *words: str, max_: float = 5.0) -> HeldFeature:
    ids = tuple(TOKENIZER.encode(word)[0] for word in words or (MARK,))
    return HeldFeature("1-relu-24", index, "a mark", max_, ids, "effects", False)


@torch.no_grad()
def naive(model: LanguageModel, sae: SAE, one: HeldFeature, strength: float | None) -> tuple[float, float]:
    """Probability of a feature's words and perplexity, one forward pass after the other, position by position."""
    probabilities, losses = [], []
    for opening in OPENINGS:
        tokens = TOKENIZER.open(opening.text)[0]
        for _ in range(CONFIG.positions):
            x_LD = model.residuals(torch.tensor([tokens]))[0]
            plain_V = model.logits_from(x_LD[None])[0, -1].double().log_softmax(-1)
            if strength is not None:
                held = strength * one.max - sae.encode(x_LD[1:])[:, one.index]
                x_LD[1:] += held[:, None] * sae.W_dec_FD[one.index]
            p_V = model.logits_from(x_LD[None])[0, -1].double().softmax(-1)
            probabilities.append(float(p_V[list(one.words)].sum()))
            losses.append(-float((p_V * plain_V).sum()))
            tokens = [*tokens, int(plain_V.argmax())]
    return sum(probabilities) / len(probabilities), math.exp(sum(losses) / len(losses))


def test_a_planted_feature_raises_its_token_with_every_strength_until_the_text_breaks(meter: StrengthMeter) -> None:
    [points] = meter.measure([feature(PLANTED, max_=20.0)])
    assert [point.strength for point in points] == [None, *STRENGTHS]
    rising = [point.probability for point in points[2:]]
    assert rising == sorted(rising)
    assert points[0].probability < rising[0]
    assert points[1].probability < points[0].probability  # held below zero
    assert rising[-1] > 0.9
    breaks = break_of(points)
    assert breaks == 4.0
    broken = [point for point in points if (point.strength or 0) >= breaks]
    assert all(point.perplexity > MAX_RATIO * points[0].perplexity for point in broken)
    assert peak_of(points, trusted=False) == 2.0


def test_batched_curves_are_those_of_one_pass_at_a_time(
    meter: StrengthMeter, model: LanguageModel, sae: SAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = [feature(PLANTED), feature(5, "a", "e", " "), feature(11, max_=-3.0), feature(20, "#", "x")]
    monkeypatch.setattr(writing, "BATCH_ROWS", 5)
    for one, points in zip(features, meter.measure(features), strict=True):
        for point in points:
            probability, perplexity = naive(model, sae, one, point.strength)
            assert point.probability == pytest.approx(probability, rel=1e-3, abs=1e-7)
            assert point.perplexity == pytest.approx(perplexity, rel=1e-3)


def test_texts_are_written_at_the_strengths_asked_for_until_predictions_break(meter: StrengthMeter) -> None:
    weak, strong = feature(PLANTED, max_=0.1), feature(PLANTED, max_=200.0)
    of_weak, of_strong = meter.measure([weak, strong])
    assert [point.strength for point in of_weak if point.texts] == [None, 0.5, 1.0]
    assert [point.strength for point in of_strong if point.texts] == [None]
    assert of_strong[2].is_broken(of_strong[0])
    assert all(len(point.texts) == len(OPENINGS) for point in of_weak if point.texts)
    assert all((point.text_perplexity is None) == (not point.texts) for point in (*of_weak, *of_strong))


def test_a_text_that_was_written_before_is_not_written_again(
    meter: StrengthMeter, model: LanguageModel, sae: SAE
) -> None:
    one, writer = feature(PLANTED, max_=0.1), Writer(model, TOKENIZER, {sae.header.name: sae}, 1e6)
    [points] = meter.measure([one])
    long, short = "an ordinary text", "ab"
    known = {(one.sae, PLANTED, "I am a", 0.5): long, (one.sae, PLANTED, "She is the", 1.0): short}
    [again] = StrengthMeter(writer, OPENINGS, CONFIG, known).measure([one])
    assert again[2].texts == (long[: CONFIG.new_tokens], points[2].texts[1])
    assert again[2].text_perplexity != points[2].text_perplexity
    assert again[3] == points[3]


def test_what_is_no_number_counts_as_broken(meter: StrengthMeter, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Writer.held_logits

    def spoilt(self, opening, said, held):
        for start, logits in plain(self, opening, said, held):
            yield start, torch.full_like(logits, math.nan)

    monkeypatch.setattr(Writer, "held_logits", spoilt)
    [points] = meter.measure([feature(PLANTED)])
    assert all(point.is_broken(points[0]) and point.probability == 0 for point in points[1:])
    assert break_of(points) == 0.5
    assert peak_of(points, trusted=True) is None


PLAIN = Point(None, 0.1, 10.0, text_perplexity=5.0, repeats=0.0, score=1.0, texts=("",))


def curve(*held: Point) -> list[Point]:
    return [PLAIN, Point(-1.0, 0.9, 10.0), *held]


def test_a_strength_is_broken_by_its_predictions_or_its_texts() -> None:
    good = Point(1.0, 0.2, 50.0, text_perplexity=25.0, repeats=0.5)
    assert not good.is_broken(PLAIN)
    for change in ({"perplexity": 50.1}, {"text_perplexity": 25.1}):
        assert replace(good, **change).is_broken(PLAIN)
        assert break_of(curve(replace(good, **change))) == 1.0
    assert break_of(curve(good)) is None
    assert break_of([PLAIN, Point(-1.0, 0.2, 1e6), good]) is None


def test_the_best_strength_is_the_judges_where_it_can_be_trusted() -> None:
    points = curve(
        Point(0.5, 0.2, 10.0, score=1.5), Point(1.0, 0.3, 10.0, score=2.5), Point(2.0, 0.4, 10.0, score=2.0),
        Point(3.0, 0.6, 10.0), Point(4.0, 0.9, 99.0), Point(6.0, 0.95, 10.0, score=3.0),
    )  # fmt: skip
    assert peak_of(points, trusted=True) == 1.0
    assert peak_of(points, trusted=False) == 3.0


def test_no_strength_is_best_where_none_is_better_than_nothing_held() -> None:
    points = curve(Point(1.0, 0.05, 10.0, score=1.4), Point(2.0, 0.19, 10.0))
    assert peak_of(points, trusted=True) is None
    assert peak_of(curve(Point(1.0, 0.2, 10.0, score=0.5)), trusted=True) == 1.0  # by its words
    assert peak_of(curve(Point(1.0, 0.9, 99.0, score=3.0)), trusted=True) is None  # broken
    assert peak_of(curve(Point(1.0, 0.9, 10.0, score=3.0, repeats=1.0)), trusted=True) is None
    assert peak_of([PLAIN], trusted=True) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strengths": (0.5, -1.0)}, "ascend"),
        ({"strengths": (-1.0, 0.0, 1.0)}, "without 0"),
        ({"strengths": (-2.0, -1.0)}, "one above it"),
        ({"text_strengths": (0.7,)}, "0.7 is in text_strengths"),
        ({"openings": ("a", "a")}, "twice"),
        ({"positions": 30}, "new_tokens"),
        ({"strengths": (1.0, 12.0)}, "10"),
    ],
)
def test_a_wrong_section_is_refused_with_the_reason(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        StrengthsConfig(**changes)
