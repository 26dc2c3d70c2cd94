"""Writing text with a model whose features are steered: a batch of rows, each with its own prompt, clamps, sampling.

Shapes: B rows, L prompt tokens, V vocabulary, K distinct features of the batch.
"""

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pipeline.models.decoder import Decoder
from pipeline.models.errors import ModelError
from pipeline.models.steering import Clamp, Scope, Steered, Steering

NUCLEUS = 64
"""Tokens looked at first when sampling; all are sorted only when the nucleus is larger."""

Reason = Literal["stop", "length", "cancelled", "broken"]


@dataclass(frozen=True)
class Sampling:
    """Settings by which the next token is drawn."""

    temperature: float = 0.0
    """0 takes the most probable token."""
    top_p: float = 1.0
    """Only the most probable tokens that together have this probability are drawn from."""
    max_new_tokens: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Row:
    """One text to write."""

    prompt: Sequence[int]
    """Token ids, opening token (BOS) included."""
    clamps: Sequence[Clamp] = ()
    sampling: Sampling = Sampling()
    scope: Scope = "all"
    """With "written" the prompt is read as it is, so the first token written is drawn as without clamps."""


class ReadToken(NamedTuple):
    """One token of a row that the model has read, in the order of the row."""

    row: int
    token: int
    probability: float | None
    """Probability that the model (at temperature 1, all tokens) gave to this token; None in the prompt."""
    activations: tuple[float, ...]
    """Of the row's clamps here, in their order, see `Steered.activations_BLK`."""
    left_out: bool
    """Opening token or attention sink: neither steered nor measured."""


class End(NamedTuple):
    """A row has ended."""

    row: int
    reason: Reason
    """stop: the model ended its text; length: max_new_tokens reached; broken: its output is no longer finite."""


def generate(
    decoder: Decoder,
    rows: Sequence[Row],
    *,
    sink_norm: float | None,
    cancelled: Callable[[int], bool] = lambda row: False,
    joining: Callable[[int], Sequence[Row]] = lambda writing: (),
) -> Iterator[list[ReadToken | End]]:
    """Write all rows together. Yields what each step brought: first the prompts' positions, then a token of each row.

    joining: asked before each step, with the number of rows that are being written, for rows that join them; their
    numbers go on from the last.

    A token comes out when it has been read, so with its activations. Rows with the same seed draw the same numbers, so
    that a baseline and a steered row differ by the clamps alone. `cancelled` is asked at each token for each row.
    Raises ModelError when a prompt is empty or too long, or the clamps cannot be applied.
    """
    batch = _Batch(decoder, rows, sink_norm)
    del rows  # what has ended must not be kept for as long as others join
    yield batch.read_prompts()
    while batch.writing:
        if ended := batch.end(cancelled):
            yield [*ended]
        if batch.writing and (joined := joining(len(batch.writing))):
            yield batch.join(joined)
            del joined
        elif batch.writing:
            yield batch.step()


class _Batch:
    """The rows that are still being written."""

    def __init__(self, decoder: Decoder, rows: Sequence[Row], sink_norm: float | None) -> None:
        if not rows or any(len(row.prompt) == 0 for row in rows):
            raise ModelError("there is nothing to continue: a prompt is empty")
        places = max(len(row.prompt) + row.sampling.max_new_tokens for row in rows)
        self._decoder, self._sink_norm = decoder, sink_norm
        self._rows = dict(enumerate(rows))
        self._num_rows = len(rows)
        """All that ever were in the batch; the rest is about those that are written."""
        self._cache = decoder.cache(len(rows), places)
        self.writing = list(range(len(rows)))
        """Numbers of the rows in the batch, in its order."""
        self._steering = self._clamped()
        self._generators = {n: torch.Generator().manual_seed(row.sampling.seed) for n, row in self._rows.items()}
        self._written = dict.fromkeys(self._rows, 0)
        self._next: list[tuple[int, float] | None] = []
        """Token and probability that come next in each row of the batch; None where the output was not finite."""

    def read_prompts(self) -> list[ReadToken | End]:
        """Read all prompts and draw the first tokens."""
        prompts = [list(self._rows[row].prompt) for row in self.writing]
        steered = self._read(prompts, head=True)
        return [
            self._read_token(place, at, token, None, steered)
            for place, prompt in enumerate(prompts)
            for at, token in enumerate(prompt)
        ]

    def join(self, rows: Sequence[Row]) -> list[ReadToken | End]:
        """Read the prompts of further rows, which are written with these from now on."""
        others, first = _Batch(self._decoder, rows, self._sink_norm), self._num_rows
        read = others.read_prompts()
        self._cache.join(others._cache)
        self._num_rows += others._num_rows
        for row in others.writing:
            self._rows[first + row] = others._rows[row]
            self._generators[first + row] = others._generators[row]
            self._written[first + row] = 0
        self._next += others._next
        self.writing += [first + row for row in others.writing]
        self._steering = self._clamped()
        return [token._replace(row=first + token.row) for token in read]

    def step(self) -> list[ReadToken | End]:
        """Read the tokens that were drawn, and draw the next."""
        drawn = [following for following in self._next if following is not None]
        lasting = any(self._written[row] + 1 < self._rows[row].sampling.max_new_tokens for row in self.writing)
        steered = self._read([[token] for token, _ in drawn], head=lasting)
        for row in self.writing:
            self._written[row] += 1
        return [
            self._read_token(place, 0, token, probability, steered) for place, (token, probability) in enumerate(drawn)
        ]

    def _clamped(self) -> Steering:
        rows = [self._rows[row] for row in self.writing]
        starts = [len(row.prompt) if row.scope == "written" else 0 for row in rows]
        return Steering([row.clamps for row in rows], sink_norm=self._sink_norm, starts=starts)

    def end(self, cancelled: Callable[[int], bool]) -> list[End]:
        """Take the rows that are done out of the batch."""
        reasons = [self._reason(place, row, cancelled) for place, row in enumerate(self.writing)]
        ended = [End(row, reason) for row, reason in zip(self.writing, reasons, strict=True) if reason]
        kept = [place for place, reason in enumerate(reasons) if reason is None]
        self.writing = [self.writing[place] for place in kept]
        self._next = [self._next[place] for place in kept if self._next]
        for end in ended:
            del self._rows[end.row], self._generators[end.row], self._written[end.row]
        if ended and kept:
            self._cache.keep(kept)
            self._steering = self._clamped()
        return ended

    def _reason(self, place: int, row: int, cancelled: Callable[[int], bool]) -> Reason | None:
        if cancelled(row):
            return "cancelled"
        if self._written[row] >= self._rows[row].sampling.max_new_tokens:
            return "length"
        following = self._next[place]
        if following is None:
            return "broken"
        return "stop" if following[0] in self._decoder.stop_ids else None

    def _read(self, tokens: Sequence[Sequence[int]], *, head: bool) -> Steered:
        """Read the next tokens of every row, clamped; with the head, draw what follows."""
        counts_B = torch.tensor([len(row) for row in tokens])
        tokens_BL = torch.zeros(len(tokens), int(counts_B.max()), dtype=torch.long)
        for place, row in enumerate(tokens):
            tokens_BL[place, : len(row)] = torch.tensor(row)
        applied: list[Steered] = []

        def edit(x_BLD: Tensor, positions_BL: Tensor) -> Tensor:
            applied.append(self._steering.apply(x_BLD, positions_BL))
            return applied[0].x_BLD

        logits_BV = self._decoder.read(tokens_BL, counts_B, self._cache, edit, head=head)
        # What was not applied must never be shown as if it had been.
        assert len(applied) == 1, "the clamps were not applied"
        self._next = [] if logits_BV is None else self._draw(logits_BV)
        return applied[0]

    def _draw(self, logits_BV: Tensor) -> list[tuple[int, float] | None]:
        finite_B = torch.isfinite(logits_BV).all(dim=1).tolist()
        return [
            draw(logits_V, self._rows[row].sampling, self._generators[row]) if finite else None
            for logits_V, row, finite in zip(logits_BV.cpu(), self.writing, finite_B, strict=True)
        ]

    def _read_token(self, place: int, at: int, token: int, probability: float | None, steered: Steered) -> ReadToken:
        values_K = steered.activations_BLK[place, at].tolist()
        activations = tuple(values_K[slot] for slot in self._steering.slots[place])
        return ReadToken(self.writing[place], token, probability, activations, bool(steered.left_out_BL[place, at]))


def draw(logits_V: Tensor, sampling: Sampling, generator: torch.Generator) -> tuple[int, float]:
    """One token and its probability at temperature 1. Draws one number from the generator, unless temperature is 0."""
    probability_V = torch.softmax(logits_V.double(), 0)
    if sampling.temperature == 0:
        token = int(logits_V.argmax())
        return token, float(probability_V[token])
    warmed_V = torch.softmax(logits_V.double() / sampling.temperature, 0)
    share = float(torch.rand((), generator=generator, dtype=torch.float64))
    token = _draw_from_nucleus(warmed_V, sampling.top_p, share)
    return token, float(probability_V[token])


def _draw_from_nucleus(probability_V: Tensor, top_p: float, share: float) -> int:
    """The token at `share` (0 to 1) of the nucleus: the fewest tokens, most probable first, that reach top_p."""
    for size in (min(NUCLEUS, len(probability_V)), len(probability_V)):
        most_N, token_N = probability_V.topk(size)
        upto_N = most_N.cumsum(0)
        reached = int((upto_N < top_p).sum())
        if reached < size or size == len(probability_V):
            break
    mass = float(upto_N[min(reached, size - 1)])
    place = int((upto_N <= share * mass).sum())
    return int(token_N[min(place, reached, size - 1)])


class Detokeniser:
    r"""Text of a row, token by token: a character that is split over tokens comes out with the one that completes it.

    Bytes that are no UTF-8 come out as \xNN; an incomplete character at the end never comes out.
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        """token_bytes: the bytes of every token by id."""
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def feed(self, token: int) -> str:
        """The characters that this token completes, "" when there are none."""
        return self._decoder.decode(self._token_bytes[token])
