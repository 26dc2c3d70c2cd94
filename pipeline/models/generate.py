"""Writing text with a model whose features are steered: a batch of rows, each with its own prompt, clamps, sampling.

Shapes: B rows, L tokens of one row, V vocabulary, K features of one row.
"""

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pipeline.models.decoding import AnyDecoder
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
    decoder: AnyDecoder,
    rows: Sequence[Row],
    *,
    sink_norm: float | None,
    cancelled: Callable[[int], bool] = lambda row: False,
    joining: Callable[[int], Sequence[Row]] = lambda writing: (),
) -> Iterator[list[ReadToken | End]]:
    """Write all rows together. Yields what each step brought: first the prompts' positions, then a token of each row.

    joining: asked before each step, with the number of rows that are being written, for rows that join them; their
    numbers go on from the last.

    A token comes out when it has been read, so with its activations. What a row writes is the same alone and among any
    others, to the bit (see `decoder.py` and `plain_decoder.py`): a baseline and a steered row of one seed, which draws
    the same numbers for both, differ by the clamps alone. `cancelled` is asked at each token for each row.
    Raises ModelError when a prompt is empty or too long, or the clamps cannot be applied.
    """
    batch = _Batch(decoder, sink_norm)
    read = batch.join(rows)
    del rows  # what has ended must not be kept for as long as others join
    yield read
    while batch.texts:
        if ended := batch.end(cancelled):
            yield [*ended]
        if batch.texts and (joined := joining(len(batch.texts))):
            yield batch.join(joined)
            del joined
        elif batch.texts:
            yield batch.step()


class _Text:
    """A row that is being written, with all that is its own."""

    def __init__(self, number: int, row: Row, cache: Any, sink_norm: float | None) -> None:
        self.number, self.row, self.cache = number, row, cache
        start = len(row.prompt) if row.scope == "written" else 0
        self.steering = Steering([row.clamps], sink_norm=sink_norm, starts=[start])
        self.generator = torch.Generator().manual_seed(row.sampling.seed)
        self.num_written = 0
        self.next: tuple[int, float] | None = None
        """Token and probability that come next; None where the output was not finite."""

    @property
    def is_last(self) -> bool:
        """Whether the token that was drawn is the last one."""
        return self.num_written + 1 >= self.row.sampling.max_new_tokens


class _Batch:
    """The rows that are being written."""

    def __init__(self, decoder: AnyDecoder, sink_norm: float | None) -> None:
        self._decoder, self._sink_norm = decoder, sink_norm
        self._num_rows = 0
        """All that ever were in the batch."""
        self.texts: list[_Text] = []

    def join(self, rows: Sequence[Row]) -> list[ReadToken | End]:
        """Read the prompts of further rows and draw their first tokens; they are written with the others after."""
        if not rows or any(len(row.prompt) == 0 for row in rows):
            raise ModelError("there is nothing to continue: a prompt is empty")
        caches = [self._decoder.cache(len(row.prompt) + row.sampling.max_new_tokens) for row in rows]
        numbered = enumerate(zip(rows, caches, strict=True), start=self._num_rows)
        joining = [_Text(number, row, cache, self._sink_norm) for number, (row, cache) in numbered]
        self._num_rows += len(joining)
        steered = self._read(joining, [text.row.prompt for text in joining], head=True)
        self.texts += joining
        return [
            _read_token(text, at, token, None, of_text)
            for text, of_text in zip(joining, steered, strict=True)
            for at, token in enumerate(text.row.prompt)
        ]

    def step(self) -> list[ReadToken | End]:
        """Read the tokens that were drawn, and draw the next."""
        drawn = [text.next for text in self.texts if text.next is not None]
        lasting = not all(text.is_last for text in self.texts)
        steered = self._read(self.texts, [[token] for token, _ in drawn], head=lasting)
        for text in self.texts:
            text.num_written += 1
        return [
            _read_token(text, 0, token, probability, of_text)
            for text, (token, probability), of_text in zip(self.texts, drawn, steered, strict=True)
        ]

    def end(self, cancelled: Callable[[int], bool]) -> list[End]:
        """Take the rows that are done out of the batch."""
        reasons = [(text, self._reason(text, cancelled)) for text in self.texts]
        self.texts = [text for text, reason in reasons if reason is None]
        return [End(text.number, reason) for text, reason in reasons if reason]

    def _reason(self, text: _Text, cancelled: Callable[[int], bool]) -> Reason | None:
        if cancelled(text.number):
            return "cancelled"
        if text.num_written >= text.row.sampling.max_new_tokens:
            return "length"
        if text.next is None:
            return "broken"
        return "stop" if text.next[0] in self._decoder.stop_ids else None

    def _read(self, texts: Sequence[_Text], tokens: Sequence[Sequence[int]], *, head: bool) -> list[Steered]:
        """Read the next tokens of some rows, clamped; with the head, draw what follows."""
        applied: dict[int, Steered] = {}

        def edit(row: int, x_LD: Tensor, positions_L: Tensor) -> Tensor:
            applied[row] = texts[row].steering.apply(x_LD[None], positions_L[None])
            return applied[row].x_BLD[0]

        logits_BV = self._decoder.read(tokens, [text.cache for text in texts], edit, head=head)
        # What was not applied must never be shown as if it had been.
        assert len(applied) == len(texts), "the clamps were not applied"
        if logits_BV is not None:
            finite_B = torch.isfinite(logits_BV).all(dim=1).tolist()
            for text, logits_V, finite in zip(texts, logits_BV.cpu(), finite_B, strict=True):
                text.next = draw(logits_V, text.row.sampling, text.generator) if finite else None
        return [applied[row] for row in range(len(texts))]


def _read_token(text: _Text, at: int, token: int, probability: float | None, steered: Steered) -> ReadToken:
    values_K = steered.activations_BLK[0, at].tolist()
    activations = tuple(values_K[slot] for slot in text.steering.slots[0])
    return ReadToken(text.number, token, probability, activations, bool(steered.left_out_BL[0, at]))


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
