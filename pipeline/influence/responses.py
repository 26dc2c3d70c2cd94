"""Responses to held features: the text that the model writes with and without each, and whether it turns to its word.

A feature that is held is clamped, at every token but the opening one, to a multiple of its maximum. Two steps:

1. `probe`: for every candidate and every opening, the probability that the next token is the candidate's word when it
   is held at the lowest strength. This takes one reading of the layers after N alone, so hundreds are cheap.
2. `measure`: after each opening those of highest probability write on, at every strength, and the model by itself
   does (the baseline), at temperature 0.

A text **responds** when all of this holds:

- the feature's word occurs in it at least MIN_MORE times more often than in the baseline of the same opening. A word
  counts as a whole word, in upper or lower case, in what was written; the opening does not count;
- it is no mere repetition: no token occurs more than MAX_RUN times in a row, and of its pairs of neighbouring tokens
  a share of at least MIN_DISTINCT are different ones. Of 24 tokens, a sentence of 8 said three times has just so much:
  small models end in such rounds by themselves when the most probable token is always taken.

What is shown was written once more as the server writes it, baseline and steered text in one batch of two, and
responded again (`confirm`): a larger batch may round otherwise in bfloat16.

Shapes: B rows, L tokens of an opening, D width, V vocabulary.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise, product
from typing import Any, NamedTuple

import torch

from pipeline.influence.candidates import Candidate
from pipeline.models.decoder import Decoder
from pipeline.models.generate import End, Reason, Row, Sampling, generate
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.steering import Clamp, Steering
from pipeline.models.tokenizer import Tokenizer

MIN_MORE = 2
MIN_DISTINCT = 1 / 3
MAX_RUN = 2
BATCH_ROWS = 32


class Case(NamedTuple):
    """A feature held after an opening."""

    candidate: Candidate
    opening: str
    probability: float
    """Probability that its word comes next, when it is held at the lowest strength."""


def longest_run(tokens: Sequence[int]) -> int:
    """The highest number of times that a token occurs in a row."""
    return max((sum(1 for _ in same) for _, same in groupby(tokens)), default=0)


class Text(NamedTuple):
    """A text that the model wrote after an opening."""

    text: str
    distinct: float
    """See `distinct_share`."""
    longest_run: int
    """See `longest_run`."""
    ending: Reason


@dataclass(frozen=True)
class Response:
    """One feature at one strength after one opening."""

    sae: str
    index: int
    label: str
    word: str
    opening: str
    probability: float
    """Of the probe."""
    strength: float
    """Times its maximum."""
    baseline: str
    steered: str
    baseline_count: int
    """Number of times that its word occurs in the baseline."""
    steered_count: int
    distinct: float
    """Of the steered text, see `distinct_share`."""
    longest_run: int
    """The same, see `longest_run`."""
    ending: Reason

    @property
    def responds(self) -> bool:
        """By the rule at the top of this file."""
        more = self.steered_count - self.baseline_count >= MIN_MORE
        varied = self.distinct >= MIN_DISTINCT and self.longest_run <= MAX_RUN
        return more and varied and self.ending != "broken"

    def as_json(self) -> dict[str, Any]:
        """All of it, as plain JSON."""
        return {**asdict(self), "responds": self.responds}


class Writer:
    """A model with SAEs that probes and writes."""

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, saes: Mapping[str, SAE], sink_norm: float, new_tokens: int
    ) -> None:
        """sink_norm: see `Steering`. new_tokens: length of a text. Raises ModelError when the model cannot write."""
        self._model, self._tokenizer, self._saes, self._sink_norm = model, tokenizer, saes, sink_norm
        self._decoder, self._pieces = Decoder(model), tokenizer.token_bytes(model.vocab_size)
        self._sampling = Sampling(max_new_tokens=new_tokens)

    def probe(self, candidates: Sequence[Candidate], opening: str, strength: float) -> Iterator[list[Case]]:
        """The probability of each candidate's word after an opening, BATCH_ROWS candidates at a time."""
        tokens_1L = torch.tensor([self._tokens(opening)])
        x_1LD = self._model.residuals(tokens_1L)
        positions_1L = torch.arange(tokens_1L.shape[1], device=x_1LD.device)[None]
        for start in range(0, len(candidates), BATCH_ROWS):
            some = candidates[start : start + BATCH_ROWS]
            steering = Steering([[self._clamp(one, strength)] for one in some], sink_norm=self._sink_norm)
            rows = len(some)
            x_BLD = steering.apply(x_1LD.expand(rows, -1, -1), positions_1L.expand(rows, -1)).x_BLD
            logits_BV = self._model.head(self._model.hidden_from(x_BLD)[:, -1])
            probability_BV = torch.softmax(logits_BV.float(), 1)
            yield [
                Case(one, opening, float(probability_V[list(one.tokens)].sum()))
                for one, probability_V in zip(some, probability_BV, strict=True)
            ]

    def measure(self, cases: Sequence[Case], strengths: Sequence[float]) -> Iterator[list[Response]]:
        """Write every case at every strength, BATCH_ROWS texts at a time; the baselines are written once."""
        openings = list(dict.fromkeys(case.opening for case in cases))
        baselines = dict(zip(openings, self._write([(opening, ()) for opening in openings]), strict=True))
        asked = list(product(cases, strengths))
        for start in range(0, len(asked), BATCH_ROWS):
            batch = asked[start : start + BATCH_ROWS]
            texts = self._write([(case.opening, [self._clamp(case.candidate, s)]) for case, s in batch])
            yield [
                _respond(case, strength, baselines[case.opening], text)
                for (case, strength), text in zip(batch, texts, strict=True)
            ]

    def confirm(self, case: Case, strength: float) -> Response:
        """Baseline and steered text in one batch of two, as the server writes them."""
        held = [(case.opening, [self._clamp(case.candidate, one)]) for one in (None, strength)]
        baseline, steered = self._write(held)
        return _respond(case, strength, baseline, steered)

    def _write(self, asked: Sequence[tuple[str, Sequence[Clamp]]]) -> list[Text]:
        """Continue each opening with its clamps, all in one batch."""
        rows = [Row(self._tokens(opening), clamps, self._sampling) for opening, clamps in asked]
        written: list[list[int]] = [[] for _ in rows]
        endings: list[Reason] = ["length"] * len(rows)
        for step in generate(self._decoder, rows, sink_norm=self._sink_norm) if rows else ():
            for event in step:
                if isinstance(event, End):
                    endings[event.row] = event.reason
                elif event.probability is not None:
                    written[event.row].append(event.token)
        texts = [b"".join(self._pieces[token] for token in tokens).decode("utf-8", "replace") for tokens in written]
        return [
            Text(*one)
            for one in zip(texts, map(distinct_share, written), map(longest_run, written), endings, strict=True)
        ]

    def _tokens(self, opening: str) -> list[int]:
        return [self._tokenizer.bos_id, *self._tokenizer.encode(opening)]

    def _clamp(self, candidate: Candidate, strength: float | None) -> Clamp:
        value = None if strength is None else strength * candidate.max
        return Clamp(self._saes[candidate.sae], candidate.index, value)


def _respond(case: Case, strength: float, baseline: Text, steered: Text) -> Response:
    """Count the word in both texts."""
    one = case.candidate
    return Response(
        sae=one.sae,
        index=one.index,
        label=one.label,
        word=one.word,
        opening=case.opening,
        probability=case.probability,
        strength=strength,
        baseline=baseline.text,
        steered=steered.text,
        baseline_count=count_word(one.word, baseline.text),
        steered_count=count_word(one.word, steered.text),
        distinct=steered.distinct,
        longest_run=steered.longest_run,
        ending=steered.ending,
    )


def count_word(word: str, text: str) -> int:
    """Number of times that a whole word occurs in a text, in upper or lower case."""
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE))


def distinct_share(tokens: Sequence[int]) -> float:
    """Share of different ones among the pairs of neighbouring tokens; 1 when there is no pair."""
    pairs = list(pairwise(tokens))
    return len(set(pairs)) / len(pairs) if pairs else 1.0
