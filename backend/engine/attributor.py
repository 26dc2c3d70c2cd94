"""Attribution on the worker's thread: outputs to features and features to tokens, in steps, so that it can be ended.

Shapes: L tokens of the prompt, K active pairs, U distinct active features, A those ablated, D width.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from cachetools import LRUCache

from backend.engine.messages import (
    Attributed,
    Changed,
    Fired,
    LikelyToken,
    MovedToken,
    Outcome,
    Prompt,
    Question,
    TokenChoice,
)
from backend.engine.models import Loaded, ModelKey, Models, models_errors
from backend.engine.reading import Reader, stream
from backend.engine.typed_tokens import MOST_CHOICES
from backend.exceptions import RefusedError, UnknownTokenError
from backend.html.tokens import token_text, visible_text
from backend.published.catalogue import OpenRun, OpenSAE

if TYPE_CHECKING:
    from pipeline.models.attribution import Moved, Trace
    from pipeline.models.exact import ExactModel
    from pipeline.models.sae import SAE

K = TypeVar("K")
T = TypeVar("T")
OUTCOMES_CACHED = 16
"""Outcomes that are kept, so that sorting a table by another column costs nothing."""
READINGS_CACHED = 64
"""Readings of single examples that are kept, of either kind, so that a page that is looked at again costs nothing."""
MOVED = 8
"""Tokens listed as raised, and as lowered."""


class Attributor:
    """For the worker's thread alone."""

    def __init__(self, models: Models, reader: Reader) -> None:
        self._models, self._reader = models, reader
        self._outcomes: LRUCache[tuple[ModelKey, Prompt, tuple[Path, ...], Question], Outcome] = LRUCache(
            OUTCOMES_CACHED
        )
        self._fired: LRUCache[tuple[ModelKey, Path, int, tuple[int, ...]], Fired] = LRUCache(READINGS_CACHED)
        self._changed: LRUCache[tuple[ModelKey, Path, int, tuple[int, ...], int], Changed] = LRUCache(READINGS_CACHED)

    def likely(self, run: OpenRun, prompt: Prompt, position: int | None, number: int) -> list[LikelyToken]:
        """The most probable tokens after a position of a prompt, the last by default."""
        from pipeline.models.attribution import predictions
        from pipeline.models.exact import ExactModel

        loaded = self._models.load(run)
        read = stream(loaded, run, *self._reader.own_tokens(loaded, prompt))
        at = _position(position, len(read.tokens))
        found = predictions(ExactModel(loaded.model, read.beside_LD), read.x_LD, at, number)
        return [LikelyToken(one.token, loaded.pieces[one.token], float(np.exp(one.log_probability))) for one in found]

    def explain(self, saes: Sequence[OpenSAE], prompt: Prompt, question: Question) -> Iterator[Outcome | None]:
        """Attribute a target to each feature of some SAEs of one run."""
        loaded = self._models.load(saes[0].run)
        key = (loaded.key, prompt, tuple(sae.folder for sae in saes), question)
        yield from _kept(self._outcomes, key, self._explain(loaded, saes, prompt, question))

    def fired(self, sae: OpenSAE, index: int, tokens: Sequence[int]) -> Iterator[Fired | None]:
        """The tokens that made a feature fire on the last of them. `tokens`: the opening one first."""
        loaded = self._models.load(sae.run)
        key = (loaded.key, sae.folder, index, tuple(tokens))
        yield from _kept(self._fired, key, self._fire(loaded, sae, index, tokens))

    def _fire(self, loaded: Loaded, sae: OpenSAE, index: int, tokens: Sequence[int]) -> Iterator[Fired | None]:
        import torch

        from pipeline.models.attribution import fire
        from pipeline.models.exact import ExactModel

        tokens_L = torch.tensor(list(tokens))
        with self._models.hold([sae]):
            weights = self._models.sae(sae)
            yield None
            found = models_errors(
                lambda: fire(ExactModel(loaded.model), weights, index, tokens_L, len(tokens) - 1), RefusedError
            )
        yield Fired(found.activation, found.effect_L.tolist())

    def changed(self, sae: OpenSAE, index: int, tokens: Sequence[int], place: int) -> Iterator[Changed | None]:
        """A feature's effect on every next token, and what it changes by the token at `place` alone.

        tokens: the opening one first, at place 0.
        """
        loaded = self._models.load(sae.run)
        key = (loaded.key, sae.folder, index, tuple(tokens), place)
        if key not in self._changed:
            for found in self._change(loaded, sae, index, tokens, place):
                yield None
                if found is not None:
                    self._changed[key] = found
        yield self._changed[key]

    def _change(
        self, loaded: Loaded, sae: OpenSAE, index: int, tokens: Sequence[int], place: int
    ) -> Iterator[Changed | None]:
        import torch

        from pipeline.models.attribution import changes, moved
        from pipeline.models.exact import ExactModel

        tokens_L, last = torch.tensor(list(tokens)), len(tokens) - 1
        with self._models.hold([sae]):
            weights = self._models.sae(sae)
            read = stream(loaded, sae.run, list(tokens))
            model = ExactModel(loaded.model, read.beside_LD)
            yield None
            found = changes(model, weights, index, read.x_LD, read.left_out_L, tokens_L, range(last + 1))
            yield None
            after = moved(model, weights, index, read.x_LD, read.left_out_L, place, MOVED)
        yield Changed(
            changes=found.next_N[:last].tolist(),
            kl=after.kl,
            raised=[_moved(loaded, one) for one in after.raised],
            lowered=[_moved(loaded, one) for one in after.lowered],
        )

    def _explain(
        self, loaded: Loaded, saes: Sequence[OpenSAE], prompt: Prompt, question: Question
    ) -> Iterator[Outcome | None]:
        from pipeline.models.attribution import Target, trace
        from pipeline.models.exact import ExactModel

        run = saes[0].run
        tokens, own = self._reader.own_tokens(loaded, prompt)
        target, *others = _tokens(loaded, question.target)
        subtracted = _tokens(loaded, question.minus) if question.minus else []
        minus = subtracted[0] if subtracted else None
        at = _position(question.position, len(tokens))
        read = stream(loaded, run, tokens, own)
        model = ExactModel(loaded.model, read.beside_LD)
        yield None
        asked = Target(target, minus, at)
        traced = models_errors(lambda: trace(model, read.x_LD, read.left_out_L, asked), RefusedError)
        yield None
        attributed = {}
        for sae in saes:
            with self._models.hold([sae]):
                for found in _attributed(model, traced, self._models.sae(sae), question.k):
                    yield None
                    if found is not None:
                        attributed[sae.name] = found
        pieces = loaded.pieces
        yield Outcome(
            tokens=tokens,
            pieces=[pieces[token] for token in tokens],
            left_out=read.left_out_L.tolist(),
            whose=self._reader.tokens_of(loaded, prompt)[1],
            position=at,
            target=target,
            target_piece=pieces[target],
            minus=minus,
            minus_piece=b"" if minus is None else pieces[minus],
            others=[TokenChoice(token, pieces[token]) for token in others],
            minus_others=[TokenChoice(token, pieces[token]) for token in subtracted[1:]],
            value=traced.value,
            attributed=attributed,
        )


def _kept(known: LRUCache[K, T], key: K, steps: Iterator[T | None]) -> Iterator[T | None]:
    """What is known of a key, found by steps that give None until the last where it is not known yet."""
    if key not in known:
        for found in steps:
            yield None
            if found is not None:
                known[key] = found
    yield known[key]


def _attributed(model: "ExactModel", traced: "Trace", sae: "SAE", k: int) -> Iterator[Attributed | None]:
    """The features of one SAE, the `k` largest attributions by size ablated."""
    from pipeline.models.attribution import ablate, attribute

    found = attribute(traced, sae)
    token_K, feature_K, value_K = (column.cpu().numpy() for column in found.pairs)
    strongest_K = np.argsort(-value_K, kind="stable")
    feature_U, first_U, place_K = np.unique(feature_K[strongest_K], return_index=True, return_inverse=True)
    first_U = strongest_K[first_U]
    attribution_U = np.bincount(
        place_K, weights=found.attribution_K.cpu().numpy()[strongest_K], minlength=len(feature_U)
    ).astype(np.float32)
    effect_U = np.full(len(feature_U), np.nan, np.float32)
    chosen_A = np.argsort(-np.abs(attribution_U), kind="stable")[:k]
    done = 0
    for effects in ablate(model, traced, sae, feature_U[chosen_A].tolist()):
        effect_U[chosen_A[done : done + len(effects)]] = effects.cpu().numpy()
        done += len(effects)
        yield None
    yield Attributed(feature_U, value_K[first_U], token_K[first_U], attribution_U, effect_U)


def _tokens(loaded: Loaded, text: str) -> list[int]:
    """The token that a text is, alone or after a space, or that #id names, and others that are written nearly so.

    Raises UnknownTokenError, which offers tokens.
    """
    if text.startswith("#") and text[1:].isascii() and text[1:].isdigit():
        token = int(text[1:])
        if token >= len(loaded.pieces):
            raise RefusedError(f"There is no token {text}: they go from #0 to #{len(loaded.pieces) - 1}.")
        return [token]
    parts = loaded.tokenizer.encode(text)
    written = loaded.typed_tokens.written(text, parts if len(parts) == 1 else ())
    alike = loaded.typed_tokens.alike(text)
    if written:
        return list(dict.fromkeys([*written, *alike]))[: MOST_CHOICES + 1]
    shown = " · ".join(token_text(loaded.pieces[token]) for token in parts)
    offered = list(dict.fromkeys(alike or parts))[:MOST_CHOICES]
    raise UnknownTokenError(
        f"“{visible_text(text)}” is no single token of this model ({shown}): choose one token, or give its #id.",
        text,
        [(token, loaded.pieces[token]) for token in offered],
    )


def _position(position: int | None, length: int) -> int:
    if position is not None and position >= length:
        raise RefusedError(f"The prompt has tokens 0 to {length - 1}; there is no token {position}.")
    return length - 1 if position is None else position


def _moved(loaded: Loaded, one: "Moved") -> MovedToken:
    return MovedToken(one.token, loaded.pieces[one.token], one.log_probability, one.without)
