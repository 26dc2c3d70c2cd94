"""Two further readings of a stored example: which tokens made the feature fire, and which next tokens it changes.
Computed on request, unless the run published them (stored.py).

The model reads the example as the harvest did: its sequence from the start, after one opening token. Where that
is longer than the server accepts, only the last part is read, and the page says so.

Shapes: L tokens of the stretch shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.engine.engine import Engine
from backend.engine.messages import Changed, Fired, MovedToken
from backend.exceptions import NotFoundError
from backend.html.tokens import token_text, token_texts, visible_text
from backend.published.catalogue import OpenSAE
from backend.published.features import Feature, get_feature
from data.artifacts.features import EXAMPLE_KINDS, ExampleKind

ExampleReading = Literal["causes", "effects"]
STEPS = 6
"""Steps of the colour scale in each direction."""


@dataclass(frozen=True)
class StoredExample:
    """An example with the tokens that the model reads for it."""

    kind: ExampleKind
    rank: int
    source: str
    position: int
    """In its document, of the token that made it an example."""
    activation: float
    opening: int
    """The opening token of what is read."""
    before: list[int]
    """Tokens of its sequence that are read before the stretch."""
    stretch: list[int]
    pieces: list[bytes]
    """The bytes of the stretch's tokens."""
    place: int
    """Of that token in the stretch."""
    num_unread: int
    """Tokens at the start of the sequence that are not read, because it is too long."""

    @property
    def upto(self) -> list[int]:
        """The tokens that end with the one that made it an example."""
        return [*self.before, *self.stretch[: self.place + 1]]

    @property
    def all(self) -> list[int]:
        """The tokens up to the stretch's end."""
        return [*self.before, *self.stretch]


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token with a value of either sign."""

    text: str
    mark: str
    """As in TokenView."""
    value: float | None
    """None for the tokens after the one that fired."""
    step: int
    """-STEPS to STEPS; 0 is uncoloured."""
    centre: bool
    """Whether it is the token that made the example."""


@dataclass(frozen=True)
class MovedText:
    """A next token that the feature raises or lowers."""

    token: int
    text: str
    probability: float
    without: float
    """Its probability with the feature ablated."""
    change: float
    """Of its probability, by the feature."""


@dataclass(frozen=True)
class Causes:
    """The tokens that made a feature fire on the example's centre token: gradient times input, in its activation's
    unit."""

    tokens: list[SignedToken]
    scale: float
    """Size at the ends of the colours: the largest of the stretch."""
    activation: float
    """As computed now, in float32."""
    before: float
    """Of the tokens before the stretch together."""
    opening: float
    """Of the opening token."""
    num_unread: int
    """Tokens at the start of the sequence that were not read, because it is too long."""


@dataclass(frozen=True)
class Effects:
    """The next tokens that a feature changes: its effect on each token's log-probability, given those before it."""

    tokens: list[SignedToken]
    """By the feature at all tokens."""
    scale: float
    """Size at the ends of the colours: the largest of the stretch."""
    coloured: bool
    """Whether the change of each token is known: the run publishes those of some features alone."""
    kl: float
    """After the token that made the example, in nats: of the distribution as it is from that without the feature at
    this token."""
    raised: list[MovedText]
    """Next tokens there, the most raised first, by the feature at this token."""
    lowered: list[MovedText]
    num_unread: int
    """As in Causes."""


def find_example(sae: OpenSAE, index: int, kind: ExampleKind, rank: int, limit: int) -> tuple[Feature, StoredExample]:
    """A feature and an example of it, by kind and rank. limit: of tokens that are read. Raises NotFoundError."""
    feature = get_feature(sae, index)
    if rank >= feature.num_examples[kind]:
        raise NotFoundError(
            f"{feature.name} has {feature.num_examples[kind]} examples of kind '{kind}', from 0; there is no {rank}."
        )
    return feature, _stored_example(sae, feature, kind, rank, limit)


def _stored_example(sae: OpenSAE, feature: Feature, kind: ExampleKind, rank: int, limit: int) -> StoredExample:
    tables, counts = sae.run.tables, list(feature.num_examples.values())
    record = tables.examples(feature.first_example, counts, EXAMPLE_KINDS.index(kind)).to_pylist()[rank]
    document = tables.take("documents", [record["document"]], ["source", "first_chunk"]).to_pylist()[0]
    cutting = sae.run.cutting
    start, stop = record["start"], record["start"] + record["length"]
    begin = cutting.start(start)  # of its sequence
    first = max(begin, stop - limit + 1)  # one position is the opening token's
    lead = cutting.first
    read = tables.windows_from([document["first_chunk"]], [first - lead], [stop - first + lead])[0]
    opening, *tokens = cutting.opened(read)
    stretch = tokens[start - first :]
    return StoredExample(
        kind=kind,
        rank=rank,
        source=visible_text(document["source"]),
        position=record["position"],
        activation=record["activation"],
        opening=opening,
        before=tokens[: start - first],
        stretch=stretch,
        pieces=[tables.vocabulary[token] for token in stretch],
        place=record["position"] - start,
        num_unread=first - begin,
    )


def present_causes(example: StoredExample, fired: Fired) -> Causes:
    """Format causes for pages and the API."""
    opening, *effects = fired.effects
    before = sum(effects[: len(example.before)])
    return colour_causes(example, fired.activation, opening, before, effects[len(example.before) :])


def colour_causes(
    example: StoredExample, activation: float, opening: float, before: float, shown: Sequence[float]
) -> Causes:
    """Causes as pages show them. shown: of the tokens of the stretch, up to the one that fired."""
    tokens, scale = colour_tokens(example, [*shown, *[None] * (len(example.stretch) - len(shown))])
    return Causes(tokens, scale, activation, before, opening, example.num_unread)


def present_effects(example: StoredExample, changed: Changed) -> Effects:
    """Format effects for pages and the API."""
    tokens, scale = colour_tokens(example, changed.changes[len(example.before) :])
    return Effects(
        tokens=tokens,
        scale=scale,
        coloured=True,
        kl=changed.kl,
        raised=[_moved(one) for one in changed.raised],
        lowered=[_moved(one) for one in changed.lowered],
        num_unread=example.num_unread,
    )


async def compute_causes(engine: Engine, sae: OpenSAE, feature: Feature, example: StoredExample) -> Causes:
    """Compute with the model which tokens made a feature fire on an example."""
    return present_causes(example, await engine.fired(sae, feature.index, [example.opening, *example.upto]))


async def compute_effects(engine: Engine, sae: OpenSAE, feature: Feature, example: StoredExample) -> Effects:
    """Compute with the model which next tokens a feature changes in an example."""
    tokens, place = [example.opening, *example.all], 1 + len(example.before) + example.place
    return present_effects(example, await engine.changed(sae, feature.index, tokens, place))


def signed_step(value: float, scale: float) -> int:
    """The step of a colour: -STEPS to STEPS."""
    return max(-STEPS, min(STEPS, round(STEPS * value / scale))) if scale > 0 else 0


def colour_tokens(example: StoredExample, values: Sequence[float | None]) -> tuple[list[SignedToken], float]:
    """The tokens of the stretch with their values, and the largest of these by size."""
    scale = max((abs(value) for value in values if value is not None), default=0.0)
    shown = zip(token_texts(example.pieces), values, strict=True)
    tokens = [
        SignedToken(one.text, one.mark, value, signed_step(value or 0.0, scale), number == example.place)
        for number, (one, value) in enumerate(shown)
    ]
    return tokens, scale


def _moved(one: MovedToken) -> MovedText:
    return MovedText(one.token, token_text(one.piece), math.exp(one.log_probability), math.exp(one.without), one.change)
