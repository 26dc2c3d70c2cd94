"""What happens when a feature is held, at one strength after the other: a section of its page."""

from dataclasses import dataclass

from backend.html.curves import CurveFigure, CurvePanel, CurvePoint
from backend.html.formats import number, share
from backend.published.catalogue import OpenSAE
from backend.published.features import Feature
from backend.published.scores import trust_text
from backend.published.strengths import StrengthCurve, StrengthPoint, get_strengths
from data.artifacts.scores import RUBRIC

HEIGHT_RATIO = 100.0
"""Of a perplexity to that with nothing held, at which the plot ends; at least the limit's is shown."""
MANY_REPEAT = 0.5
"""Share of the texts at a strength above which it counts as repeating itself."""
NOTHING = "none"


@dataclass(frozen=True)
class StrengthRow:
    """One strength of the table."""

    strength: str
    href: str
    """The address at which the feature is held so; "" where nothing is held."""
    probability: str
    score: str
    """"" where no text was judged."""
    perplexity: str
    verdict: str
    """broken, repeats itself, best, or ""."""


@dataclass(frozen=True)
class OpeningTexts:
    """What is written after one opening."""

    opening: str
    plain: str
    held: str
    """At the strength that is shown; "" where there is none."""


@dataclass(frozen=True)
class StrengthSection:
    """The section."""

    why_none: str
    """The reason why there is nothing to show; "" when there is."""
    best: str
    """The best strength, as in 1.5×; "" where there is none."""
    href: str
    """The address at which it is held so."""
    found: str
    """What happens at the best strength, as sentences."""
    breaks: str
    """Where the text breaks, as a sentence."""
    words: list[str]
    words_from: str
    """Whose they are, as the end of a sentence."""
    judge: str
    """Who judged, and how far that can be trusted, as a sentence."""
    figure: CurveFigure | None
    rows: list[StrengthRow]
    texts: list[OpeningTexts]
    shown: str
    """The strength of the texts; "" where none were written."""
    num_openings: int


WORDS_FROM = {
    "effects": "the next words that it was measured to raise most",
    "peaks": "the words on which it is strongest, for its effects were not measured",
}


def strength_section(sae: OpenSAE, feature: Feature) -> StrengthSection:
    """The section of a live or minor feature."""
    curve = get_strengths(sae, feature)
    if curve.why_none or curve.plain is None:
        return StrengthSection(curve.why_none, "", "", "", "", [], "", "", None, [], [], "", 0)
    best = next((one for one in curve.points if one.strength == curve.best), None)
    shown = best or next((one for one in curve.points if one.texts), None)
    return StrengthSection(
        why_none="",
        best=times(curve.best) if curve.best else "",
        href=steer_href(feature, curve.best) if curve.best else "",
        found=_found(curve.plain, best) if best else "",
        breaks=_breaks(curve),
        words=curve.words,
        words_from=WORDS_FROM[curve.words_from],
        judge=f"{curve.judge} {trust_text(curve.trust)}" if curve.judge else curve.why_unjudged,
        figure=_figure(feature, curve, curve.plain),
        rows=[_row(feature, one, curve.best) for one in (curve.plain, *curve.points)],
        texts=_texts(curve, curve.plain, shown),
        shown=times(shown.strength) if shown and shown.strength and shown.texts else "",
        num_openings=len(curve.openings),
    )


def times(strength: float) -> str:
    """A strength as it is shown."""
    return f"{strength:g}×".replace("-", "−")


def steer_href(feature: Feature, strength: float) -> str:
    """The address of the steering page with a feature held at a strength."""
    return f"/steer?f={feature.name}:{strength:g}"


def _found(plain: StrengthPoint, best: StrengthPoint) -> str:
    said = f"Its words get {share(best.probability, 2)} of the next token, against {share(plain.probability, 2)}."
    if best.score is None or plain.score is None:
        return said
    return f"{said} The judge puts what is written at {best.score:.1f} of {RUBRIC - 1}, against {plain.score:.1f}."


def _breaks(curve: StrengthCurve) -> str:
    if curve.breaks is None:
        return "At no strength that was tried does the text break."
    how = f"more than {curve.max_ratio:g} times as surprising to the model itself as its own"
    return f"From {times(curve.breaks)} on the text breaks: it is {how}."


def _row(feature: Feature, one: StrengthPoint, best: float | None) -> StrengthRow:
    return StrengthRow(
        strength=times(one.strength) if one.strength is not None else NOTHING,
        href=steer_href(feature, one.strength) if one.strength is not None else "",
        probability=share(one.probability, 2),
        score="" if one.score is None else f"{one.score:.1f}",
        perplexity=number(one.perplexity, 2),
        verdict=_verdict(one, best),
    )


def _verdict(one: StrengthPoint, best: float | None) -> str:
    if one.broken:
        return "broken"
    if one.strength is not None and (one.repeats or 0) > MANY_REPEAT:
        return "repeats itself"
    return "best" if one.strength is not None and one.strength == best else ""


def _texts(curve: StrengthCurve, plain: StrengthPoint, shown: StrengthPoint | None) -> list[OpeningTexts]:
    held = shown.texts if shown and shown.texts else [""] * len(plain.texts)
    return [OpeningTexts(*three) for three in zip(curve.openings, plain.texts, held, strict=False)]


def _figure(feature: Feature, curve: StrengthCurve, plain: StrengthPoint) -> CurveFigure:
    """Panels over all strengths, that with nothing held where 0 would be."""
    shown = sorted([plain, *curve.points], key=lambda one: one.strength or 0.0)
    strengths = [one.strength for one in shown]
    panels = [_words_panel(shown), *_score_panels(shown), _perplexity_panel(shown, plain, curve.max_ratio)]
    return CurveFigure(
        name=f"What {feature.title} does at each strength; the table below has the figures",
        axis="Strength, times its highest activation",
        ticks=[_short(one) for one in strengths],
        panels=panels,
        marked=strengths.index(curve.best) if curve.best in strengths else None,
        marked_text="best",
        shaded=strengths.index(curve.breaks) if curve.breaks in strengths else None,
        shaded_text="shaded: the text breaks",
    )


def _short(strength: float | None) -> str:
    return NOTHING if strength is None else f"{strength:g}".replace("-", "−")


def _named(one: StrengthPoint, text: str) -> str:
    at = "Nothing held" if one.strength is None else f"At {times(one.strength)}"
    return f"{at}: {text}"


def _words_panel(shown: list[StrengthPoint]) -> CurvePanel:
    high = max(one.probability for one in shown) or 1.0
    points = [
        CurvePoint(place, one.probability, _named(one, share(one.probability, 2)), one.broken)
        for place, one in enumerate(shown)
    ]
    return CurvePanel("Probability of its words", points, 0.0, high, "0%", share(high, 2))


def _score_panels(shown: list[StrengthPoint]) -> list[CurvePanel]:
    """What the judge says, where anything was judged."""
    points = [
        CurvePoint(place, one.score, _named(one, f"{one.score:.1f} of {RUBRIC - 1}"), one.broken)
        for place, one in enumerate(shown)
        if one.score is not None
    ]
    heading = "How much what is written is about its label"
    return [CurvePanel(heading, points, 0.0, RUBRIC - 1, "0", str(RUBRIC - 1))] if len(points) > 1 else []


def _brief(value: float) -> str:
    """A value beside an axis, where there is little room: 119, 12k."""
    return number(value, 2) if value < 10_000 else f"{value / 1000:,.0f}k"


def _perplexity_panel(shown: list[StrengthPoint], plain: StrengthPoint, max_ratio: float) -> CurvePanel:
    values, limit = [one.perplexity for one in shown], max_ratio * plain.perplexity
    low, high = min(values), min(max(*values, limit), HEIGHT_RATIO * plain.perplexity)
    points = [
        CurvePoint(place, one.perplexity, _named(one, number(one.perplexity, 2)), one.broken)
        for place, one in enumerate(shown)
    ]
    top = f"{'> ' if max(values) > high else ''}{_brief(high)}"
    heading = f"Perplexity to the model; dashed: {max_ratio:g} × its own"
    return CurvePanel(heading, points, low, high, _brief(low), top, log=True, limit=limit)
