"""Texts that a model writes with features held, and their perplexity for the model with nothing held.

Shapes: B texts of a batch, L tokens of an opening with what follows it, D width, V vocabulary, T tokens of a text.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.influence.candidates import Candidate
from pipeline.influence.evidence import word_starts
from pipeline.models.decoder import Decoder
from pipeline.models.generate import End, Reason, Row, Sampling, generate
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.steering import Clamp, Steering
from pipeline.models.tokenizer import Tokenizer

BATCH_ROWS = 32


class Opening(NamedTuple):
    """What the model is given."""

    text: str
    chat: bool
    """A message to the assistant, put into the model's chat template; else a text to continue."""


class Hold(NamedTuple):
    """A feature held after an opening."""

    opening: Opening
    candidate: Candidate
    strength: float
    """Times its maximum."""


@dataclass(frozen=True)
class Text:
    """A text that the model wrote."""

    tokens: tuple[int, ...]
    text: str
    ending: Reason


class Reading(NamedTuple):
    """What the model with nothing held makes of a text after its opening."""

    perplexity: float
    """1 for a text without tokens."""
    first_loss: float
    """-ln of the probability of its first token."""
    word_losses: Mapping[str, float]
    """Of each of its words, -ln of the probability of the token with which it begins for the first time."""


class Writer:
    """A model with SAEs."""

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, saes: Mapping[str, SAE], sink_norm: float) -> None:
        """sink_norm: see `Steering`. Raises ModelError when the model cannot write."""
        self._model, self._tokenizer, self._saes, self._sink_norm = model, tokenizer, saes, sink_norm
        self._decoder, self._pieces = Decoder(model), tokenizer.token_bytes(model.vocab_size)

    def write(self, holds: Sequence[Hold], new_tokens: int) -> Iterator[list[Text]]:
        """Write a text for each, BATCH_ROWS at a time."""
        for start in range(0, len(holds), BATCH_ROWS):
            yield self.write_together(holds[start : start + BATCH_ROWS], new_tokens)

    def write_together(self, asked: Sequence[Hold | Opening], new_tokens: int) -> list[Text]:
        """Write a text for each, at temperature 0, all in one batch; for an opening with nothing held."""
        rows = [self._row(one, Sampling(max_new_tokens=new_tokens)) for one in asked]
        written: list[list[int]] = [[] for _ in rows]
        endings: list[Reason] = ["length"] * len(rows)
        for step in generate(self._decoder, rows, sink_norm=self._sink_norm):
            for event in step:
                if isinstance(event, End):
                    endings[event.row] = event.reason
                elif event.probability is not None:
                    written[event.row].append(event.token)
        return [
            Text(tuple(tokens), self._decode(tokens), ending) for tokens, ending in zip(written, endings, strict=True)
        ]

    def read(self, texts: Sequence[tuple[Opening, Text]]) -> list[Reading]:
        """Each text after its opening, as the model with nothing held reads it."""
        batches = [texts[start : start + BATCH_ROWS] for start in range(0, len(texts), BATCH_ROWS)]
        return [found for batch in batches for found in self._read(batch)]

    def _read(self, texts: Sequence[tuple[Opening, Text]]) -> list[Reading]:
        given = [self.tokens(opening) for opening, _ in texts]
        rows = [torch.tensor([*before, *text.tokens]) for before, (_, text) in zip(given, texts, strict=True)]
        tokens_BL = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        hidden_BLD = self._model.hidden_from(self._model.residuals(tokens_BL))
        found = []
        for hidden_LD, row_L, before, (_, text) in zip(hidden_BLD, rows, given, texts, strict=True):
            written_T = row_L[len(before) :].to(hidden_LD.device)
            logits_TV = self._model.head(hidden_LD[len(before) - 1 : len(row_L) - 1]).float()
            losses = torch.nn.functional.cross_entropy(logits_TV, written_T, reduction="none").tolist() or [0.0]
            perplexity = math.exp(sum(losses) / len(losses))
            found.append(Reading(perplexity, losses[0], self._word_losses(text, losses)))
        return found

    def _word_losses(self, text: Text, losses: Sequence[float]) -> dict[str, float]:
        stops = [len(self._decode(text.tokens[: place + 1])) for place in range(len(text.tokens))]
        return {word: losses[bisect_right(stops, start)] for word, start in word_starts(text.text).items()}

    def follow(self, opening: Opening, said: Sequence[int]) -> Tensor:
        """What would follow the opening and each token of a text but its last, with nothing held: probabilities [T, V].

        said: the tokens of the text, T of them.
        """
        [(_, follow_1TV)] = self._follow(opening, said, [()])
        return follow_1TV[0]

    def probe(
        self, candidates: Sequence[Candidate], opening: Opening, said: Sequence[int], strength: float
    ) -> Iterator[tuple[list[Candidate], Tensor]]:
        """The same with each candidate held: probabilities [B, T, V] of some candidates at a time."""
        clamps = [[self._clamp(one, strength)] for one in candidates]
        for start, follow_BTV in self._follow(opening, said, clamps):
            yield list(candidates[start : start + len(follow_BTV)]), follow_BTV

    def _follow(
        self, opening: Opening, said: Sequence[int], clamps: Sequence[Sequence[Clamp]]
    ) -> Iterator[tuple[int, Tensor]]:
        """Number of the first row and probabilities [B, T, V] of BATCH_ROWS rows at a time; layers after N are run."""
        given = self.tokens(opening)
        x_1LD = self._model.residuals(torch.tensor([[*given, *said]]))[:, :-1]
        positions_1L = torch.arange(x_1LD.shape[1], device=x_1LD.device)[None]
        for start in range(0, len(clamps), BATCH_ROWS):
            rows = clamps[start : start + BATCH_ROWS]
            steering = Steering(rows, sink_norm=self._sink_norm)
            x_BLD = steering.apply(x_1LD.expand(len(rows), -1, -1), positions_1L.expand(len(rows), -1)).x_BLD
            hidden_BTD = self._model.hidden_from(x_BLD)[:, len(given) - 1 :]
            # In one piece: a CPU takes eight times as long for rows that lie apart.
            logits_NV = self._model.head(hidden_BTD.flatten(0, 1)).float()
            yield start, torch.softmax(logits_NV, -1).view(*hidden_BTD.shape[:2], -1)

    def tokens(self, opening: Opening) -> list[int]:
        """The model's exact tokens, one BOS first where the model has one."""
        if opening.chat:
            return self._tokenizer.ask(opening.text)[0]
        return self._tokenizer.open(opening.text)[0]

    def _decode(self, tokens: Sequence[int]) -> str:
        return b"".join(self._pieces[token] for token in tokens).decode("utf-8", "replace")

    def _row(self, asked: Hold | Opening, sampling: Sampling) -> Row:
        if isinstance(asked, Opening):
            return Row(self.tokens(asked), (), sampling)
        return Row(self.tokens(asked.opening), [self._clamp(asked.candidate, asked.strength)], sampling)

    def _clamp(self, one: Candidate, strength: float) -> Clamp:
        return Clamp(self._saes[one.sae], one.index, strength * one.max)


def longest_run(tokens: Sequence[int]) -> int:
    """The highest number of times that a token occurs in a row."""
    return max((sum(1 for _ in same) for _, same in groupby(tokens)), default=0)


def distinct_share(tokens: Sequence[int]) -> float:
    """Share of different ones among the pairs of neighbouring tokens; 1 when there is no pair."""
    pairs = list(pairwise(tokens))
    return len(set(pairs)) / len(pairs) if pairs else 1.0
