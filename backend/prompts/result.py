"""What a prompt activates, as the page shows it: its tokens, and features for one token and for all.

Shapes: L tokens of the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.engine.messages import PromptReading, values_of
from backend.html.formats import number, share
from backend.html.spans import UNCOUNTED
from backend.html.tokens import TokenText, level, standing_alone, text_direction, token_texts
from backend.prompts.ranking import ActiveFeature, gather, rank
from backend.prompts.state import PromptState
from backend.published.catalogue import OpenSAE
from backend.published.features import FeatureSummary
from backend.web.prompt_body import num_of_template, uncounted

SHOWN_OF_TOKEN = 24
SHOWN_OVERALL = 24
Focus = tuple[OpenSAE, FeatureSummary]
"""The feature whose activations colour the tokens."""


@dataclass(frozen=True, slots=True)
class PromptToken:
    """One token of the prompt."""

    number: int
    text: str
    mark: str
    """As in TokenView."""
    left_out: bool
    whose: str
    """Of a token that is left out for it is of the chat template: template or system."""
    level: int
    """Highlight: of the chosen feature, or else of the token's strongest; -1 for none."""
    caption: str
    """Label of its strongest feature, or the chosen feature's activation."""
    about: str
    """Its id and what is active, in a line."""
    href: str
    """Lists its features."""
    current: bool


@dataclass(frozen=True)
class TemplateTokens:
    """The tokens of the chat template in a prompt."""

    num: int
    """See `num_of_template`."""
    is_text: bool
    """Whether the text itself is the filled template."""
    switch: str
    """The address that counts them, or leaves them out again."""
    plain: str
    """The address that reads the text letter by letter."""


@dataclass(frozen=True)
class PromptResult:
    """The features that a prompt activates."""

    tokens: list[PromptToken]
    direction: str
    """ltr or rtl, as most of the letters are."""
    num_counted: int
    """Tokens that are not left out."""
    scale: float
    """Value at the end of the highlight's scale: the chosen feature's highest; 0 when shares are shown."""
    overall: list[ActiveFeature]
    total: int
    """Distinct active features, hidden ones left out."""
    hidden: int
    num_common: int
    """Of those shown, the ones that are active too often or at the start of texts to say much."""
    switch: str
    """The address that ranks these like the others, or last again."""
    token: PromptToken
    """The chosen token."""
    token_features: list[ActiveFeature]
    token_total: int
    """Features active on it."""
    series_of: dict[str, int]
    """Colours of the SAEs by name."""
    template: TemplateTokens | None
    """None where there is no chat template around the text."""


def prompt_result_of(
    state: PromptState, saes: Sequence[OpenSAE], reading: PromptReading, focus: Focus | None
) -> PromptResult:
    """A reading as the page shows it."""
    ranking = rank(gather(saes, reading), state.rank, state.hide, common_last=not state.mixed)
    texts = token_texts(reading.pieces)
    current = _current(state.token, reading, texts)
    strongest_L = [features[0] if features else None for features in ranking.by_token(1)]
    if focus:
        values = values_of(focus[0], reading, focus[1].index)
        highlights = [_highlight_by_focus(focus[1], value) for value in values]
    else:
        highlights = [_highlight_by_strongest(strongest) for strongest in strongest_L]
    whose = uncounted(reading, state.prompt)
    out_L = [_why_out(*one) for one in zip(reading.left_out, whose, strict=True)]
    tokens = [
        PromptToken(
            number=place,
            text=standing_alone(shown),
            mark=shown.mark,
            left_out=reading.left_out[place],
            whose=whose[place],
            level=step,
            caption=caption,
            about=f"token {place}, id {reading.tokens[place]}: {out_L[place] or about}",
            href=state.href(token=place),
            current=place == current,
        )
        for place, (shown, (step, caption, about)) in enumerate(zip(texts, highlights, strict=True))
    ]
    listed, total = ranking.of_token(current, SHOWN_OF_TOKEN)
    return PromptResult(
        tokens=tokens,
        direction=text_direction("".join(shown.text for shown in texts)),
        num_counted=reading.left_out.count(False),
        scale=focus[1].max if focus else 0.0,
        overall=ranking.overall(SHOWN_OVERALL),
        total=ranking.total,
        hidden=ranking.hidden,
        num_common=ranking.num_common,
        switch=state.href(mixed=not state.mixed),
        token=tokens[current],
        token_features=listed,
        token_total=total,
        series_of={sae.name: sae.record.position for sae in saes},
        template=_template_of(state, reading),
    )


def _why_out(left_out: bool, whose: str) -> str:
    """The reason why a token is left out; "" for one that counts."""
    return UNCOUNTED[whose] if whose else "left out" if left_out else ""


def _template_of(state: PromptState, reading: PromptReading) -> TemplateTokens | None:
    if not any(reading.whose):
        return None
    num = num_of_template(reading, state.prompt)
    switch, plain = state.href(template=not state.template), state.href(plain=True, template=False, token=None)
    return TemplateTokens(num, not state.chat, switch, plain)


def _current(asked: int | None, reading: PromptReading, texts: Sequence[TokenText]) -> int:
    """The number of the token whose features are listed: unless another is asked for, the last word or number of the
    text that counts, else its last token that counts."""
    if asked is not None and asked < len(texts):
        return asked
    counted = [number for number, out in enumerate(reading.left_out) if not out]
    own = [number for number in counted if not reading.whose[number]]
    words = [number for number in own if _is_word(texts[number])]
    return (words or own or counted or [len(texts) - 1])[-1]


def _is_word(shown: TokenText) -> bool:
    """Whether a token holds a letter or a digit."""
    return not shown.mark and any(character.isalnum() for character in shown.text)


def _highlight_by_focus(focus: FeatureSummary, value: float) -> tuple[int, str, str]:
    """Highlight, caption and description of a token, by one feature's activation."""
    shown = number(value) if value > 0 else ""
    return level(value, focus.max), shown, f"{focus.title} {shown or 'is not active'}"


def _highlight_by_strongest(strongest: ActiveFeature | None) -> tuple[int, str, str]:
    """Highlight, caption and description of a token, by its strongest feature."""
    if strongest is None:
        return -1, "", "no feature shown is active"
    title = strongest.feature.title
    about = f"{title} {number(strongest.activation)}, {share(strongest.share, 2)} of its max"
    return level(strongest.share, 1.0), title, about
