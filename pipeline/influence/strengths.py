"""What a feature does at one strength after the other, and the strength at which it is best held.

Along what the model says by itself after each opening, with p_0 its prediction of the next token with nothing held and
p_s that with the feature held at s times its maximum:

    probability(s) = mean of  sum over the feature's words v of  p_s(v)
    perplexity(s)  = exp of the mean of  - sum over all tokens v of  p_s(v) ln p_0(v)

Both are exact and need no text: what follows the hook is run on rows of all strengths together. Perplexity is that of
what would be written next with the feature held, for the model with nothing held. A strength is **broken** when its
perplexity is above MAX_RATIO times that with nothing held, or when that of the texts written at it is above so many
times that of the texts with nothing held. Where predictions are broken no text is written. The text **breaks** at the
lowest strength above 0 that is broken.

The best strength, the **peak**, lies above 0 and below that, and no more than half of its texts repeat themselves (see
responses.py). Where texts were judged, by a judge that can be trusted, it is the one with the highest score, if that is
at least MIN_GAIN above the one with nothing held; otherwise the one with the highest probability, if that is at least
MIN_RISE times the one with nothing held; otherwise there is none.

Shapes: F features, S strengths, B rows, T positions, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from data.artifacts.responses import Continuations
from pipeline.influence.responses import MAX_RATIO, repeats
from pipeline.influence.writing import Hold, Opening, Reading, Text, Writer
from pipeline.recipe.influence import StrengthsConfig

MIN_GAIN = 0.5
"""Half a step of the judge's scale."""
MIN_RISE = 2.0
MAX_LOSS = 20.0
"""In nats; what is higher, or no number, counts as so much."""
UNREAD = 0
"""Stands for the last token of a text, which is predicted and not read."""


@dataclass(frozen=True)
class HeldFeature:
    """A feature that is measured."""

    sae: str
    index: int
    label: str
    """"" without one."""
    max: float
    """Its highest activation on the corpus, in the residual stream's units."""
    words: tuple[int, ...]
    """Ids of the tokens whose probability is measured."""
    words_from: str
    """effects: it raises them most; peaks: the words on which it is strongest begin with them."""
    random: bool
    """Whether it was drawn at random."""


@dataclass(frozen=True)
class Point:
    """One feature at one strength."""

    strength: float | None
    """None where nothing is held."""
    probability: float
    perplexity: float
    text_perplexity: float | None = None
    """Geometric mean over its texts; None without texts, as the next two."""
    repeats: float | None = None
    """Share of the texts that repeat themselves."""
    score: float | None = None
    """The judge's mean answer."""
    texts: tuple[str, ...] = field(default=())
    """After each opening."""

    def is_broken(self, plain: "Point") -> bool:
        """By the rule at the top of this file."""
        if self.strength is None:
            return False
        if self.perplexity > MAX_RATIO * plain.perplexity:
            return True
        texts, plain_texts = self.text_perplexity, plain.text_perplexity
        return texts is not None and plain_texts is not None and texts > MAX_RATIO * plain_texts


def break_of(points: Sequence[Point]) -> float | None:
    """The strength at which the text breaks. points: the first with nothing held, then ascending."""
    plain, *held = points
    return next((one.strength for one in held if (one.strength or 0) > 0 and one.is_broken(plain)), None)


def peak_of(points: Sequence[Point], *, trusted: bool) -> float | None:
    """The best strength. trusted: whether the judge's scores count."""
    plain, *held = points
    breaks = break_of(points) or math.inf
    good = [one for one in held if 0 < (one.strength or 0) < breaks and (one.repeats or 0) <= 0.5]
    if trusted and plain.score is not None:
        judged = [(one.score - plain.score, one) for one in good if one.score is not None]
        gain, best = max(judged, key=lambda pair: pair[0], default=(0.0, plain))
        if gain >= MIN_GAIN:
            return best.strength
    best = max(good, key=lambda one: one.probability, default=plain)
    return best.strength if best.probability >= MIN_RISE * plain.probability > 0 else None


class _Followed(NamedTuple):
    """What the model says by itself after an opening."""

    opening: Opening
    said: tuple[int, ...]
    """Tokens, of which each is predicted."""
    plain_TV: Tensor
    """Log-probabilities with nothing held."""


class StrengthMeter:
    """Measures features after some openings."""

    def __init__(
        self, writer: Writer, openings: Sequence[Opening], config: StrengthsConfig, known: Continuations
    ) -> None:
        """known: texts that were written before and need not be written again."""
        self._writer, self._openings, self._config, self._known = writer, list(openings), config, known
        texts = writer.write_together(self._openings, config.new_tokens)
        self._followed = [self._follow(*pair) for pair in zip(self._openings, texts, strict=True)]
        losses = [-(one.plain_TV.exp() * one.plain_TV).sum(-1).mean() for one in self._followed]
        plain = Point(None, 0.0, _perplexity(float(torch.stack(losses).mean())))
        self._plain = with_texts(plain, texts, writer.read(list(zip(self._openings, texts, strict=True))))

    def measure(self, features: Sequence[HeldFeature]) -> list[list[Point]]:
        """The points of each feature: with nothing held, then at every strength, without scores."""
        probability_FS, perplexity_FS = self._predict(features)
        curves = [
            [
                replace(self._plain, probability=self._plain_probability(one)),
                *map(Point, self._config.strengths, probabilities, perplexities),
            ]
            for one, probabilities, perplexities in zip(
                features, probability_FS.tolist(), perplexity_FS.tolist(), strict=True
            )
        ]
        self._write(features, curves)
        return curves

    def _predict(self, features: Sequence[HeldFeature]) -> tuple[Tensor, Tensor]:
        """Probabilities and perplexities of features at strengths, each float64 [F, S]."""
        held = [(one, strength) for one in features for strength in self._config.strengths]
        probability_B, loss_B = torch.zeros(2, len(held), dtype=torch.float64)
        for followed in self._followed:
            for start, logits_BTV in self._writer.held_logits(followed.opening, followed.said, held):
                rows, p_BTV = slice(start, start + len(logits_BTV)), torch.softmax(logits_BTV, -1)
                losses_BT = -torch.einsum("btv,tv->bt", p_BTV, followed.plain_TV)
                loss_B[rows] += losses_BT.nan_to_num(nan=MAX_LOSS, posinf=MAX_LOSS).mean(1).cpu()
                sums = [
                    p_TV[:, list(one.words)].sum(1).mean() for (one, _), p_TV in zip(held[rows], p_BTV, strict=True)
                ]
                probability_B[rows] += torch.stack(sums).nan_to_num(nan=0.0).cpu()
        probability_B /= len(self._followed)
        perplexity_B = (loss_B / len(self._followed)).clamp(max=MAX_LOSS).exp()
        return probability_B.view(len(features), -1), perplexity_B.view(len(features), -1)

    def _write(self, features: Sequence[HeldFeature], curves: Sequence[list[Point]]) -> None:
        """Put the texts into the points at which some are asked for and predictions are not broken."""
        asked = [
            (f, s, point.strength)
            for f, points in enumerate(curves)
            for s, point in enumerate(points)
            if point.strength in self._config.text_strengths and not point.is_broken(self._plain)
        ]
        holds = [Hold(opening, features[f], strength) for f, _, strength in asked for opening in self._openings]
        texts = self._texts(holds)
        readings = self._writer.read([(hold.opening, text) for hold, text in zip(holds, texts, strict=True)])
        size = len(self._openings)
        for place, (f, s, _) in enumerate(asked):
            mine = slice(place * size, (place + 1) * size)
            curves[f][s] = with_texts(curves[f][s], texts[mine], readings[mine])

    def _texts(self, holds: Sequence[Hold[HeldFeature]]) -> list[Text]:
        """The text of each, those that are not known from the model."""
        new_tokens = self._config.new_tokens
        texts = [self._known_text(hold) for hold in holds]
        missing = [hold for hold, text in zip(holds, texts, strict=True) if text is None]
        written = (text for batch in self._writer.write(missing, new_tokens) for text in batch)
        return [next(written) if text is None else text for text in texts]

    def _known_text(self, hold: Hold[HeldFeature]) -> Text | None:
        key = (hold.feature.sae, hold.feature.index, hold.opening.text, hold.strength)
        return self._writer.beginning(self._known[key], self._config.new_tokens) if key in self._known else None

    def _plain_probability(self, one: HeldFeature) -> float:
        words = list(one.words)
        return float(torch.stack([f.plain_TV[:, words].exp().sum(1).mean() for f in self._followed]).mean())

    def _follow(self, opening: Opening, text: Text) -> _Followed:
        said = (*text.tokens[: self._config.positions - 1], UNREAD)
        return _Followed(opening, said, torch.log_softmax(self._writer.plain_logits(opening, said), -1))


def with_texts(point: Point, texts: Sequence[Text], readings: Sequence[Reading]) -> Point:
    """A point with its texts, and what the model with nothing held makes of them."""
    losses = [math.log(reading.perplexity) for reading in readings]
    broken = [repeats(text.tokens) or text.ending == "broken" for text in texts]
    return replace(
        point,
        text_perplexity=_perplexity(sum(losses) / len(losses)),
        repeats=sum(broken) / len(broken),
        texts=tuple(text.text for text in texts),
    )


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, MAX_LOSS))
