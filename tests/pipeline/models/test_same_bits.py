"""A text is the same alone, in a pair, in a sweep, among strangers and when it joins midway, to the bit.

Not only its tokens: their probabilities and the features' activations too, in float32 and in bfloat16.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from data.layout import StorePaths
from pipeline.models import same_bits
from pipeline.models.decoder import Decoder
from pipeline.models.generate import ReadToken, Row, Sampling, generate
from pipeline.models.language_model import LanguageModel
from pipeline.models.same_bits import SIZES, Product, cancelling_weights, group_sizes, split_into_groups
from pipeline.models.steering import Clamp
from pipeline.recipe import load_recipe
from tests.support.models import tiny_language_model, tiny_sae

BOS = 256
LONG, SHORT = [BOS, 1, 2, 3, 4, 50, 60, 70], [BOS, 5]
GREEDY, SAMPLED = Sampling(max_new_tokens=20), Sampling(0.9, 0.95, 20, seed=7)
SWEEP = (-10.0, -5.0, -2.0, 0.0, 2.0, 5.0, 10.0)


@cache
def decoder(dtype: torch.dtype) -> Decoder:
    made = Decoder(tiny_language_model(dtype=dtype))
    made.stop_ids = frozenset()
    return made


def write(on: Decoder, rows: Sequence[Row], late: Sequence[Row] = (), at: int = 5) -> list[list[ReadToken]]:
    """All that is read of each row; `late` joins before the step of that number."""
    asked = [0]

    def join(writing: int) -> Sequence[Row]:
        asked[0] += 1
        return late if asked[0] == at else ()

    read: list[list[ReadToken]] = [[] for _ in [*rows, *late]]
    for step in generate(on, rows, sink_norm=1e9, joining=join):
        for event in step:
            if isinstance(event, ReadToken):
                read[event.row].append(event._replace(row=0))
    return read


def strangers(sampling: Sampling) -> list[Row]:
    """Eleven rows of other lengths, features and settings, so that groups are filled up and rows leave at all times."""
    sae, other = tiny_sae(seed=5), tiny_sae(seed=8, nonlinearity="topk")
    return [
        Row(
            [BOS, *range(10 + n, 10 + 4 * n)],
            [Clamp(sae, n, 3.0), Clamp(other, n + 1, None if n % 2 else -2.0, "clamp")],
            Sampling(sampling.temperature, 1.0, 3 + 2 * n, n),
            "written" if n % 3 else "all",
        )
        for n in range(1, 12)
    ]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
class TestRow:
    """One steered row, of three features."""

    def row(self, sampling: Sampling, prompt: Sequence[int] = LONG) -> Row:
        sae = tiny_sae()
        return Row(prompt, [Clamp(sae, 4, 6.0), Clamp(sae, 9, 2.0, "add"), Clamp(sae, 2, None)], sampling)

    def test_in_a_pair(self, dtype: torch.dtype, sampling: Sampling) -> None:
        on, row = decoder(dtype), self.row(sampling)
        baseline = Row(LONG, (), sampling)
        assert write(on, [baseline, row]) == [*write(on, [baseline]), *write(on, [row])]

    def test_in_a_sweep(self, dtype: torch.dtype, sampling: Sampling) -> None:
        on, sae = decoder(dtype), tiny_sae()
        rows = [Row(LONG, [Clamp(sae, 4, strength)], sampling) for strength in SWEEP]
        alone = [write(on, [row])[0] for row in rows]
        assert write(on, rows) == alone
        assert write(on, rows[::-1]) == alone[::-1]
        assert len({tuple(token.token for token in text) for text in alone}) > 3

    def test_among_strangers(self, dtype: torch.dtype, sampling: Sampling) -> None:
        on, row, others = decoder(dtype), self.row(sampling), strangers(sampling)
        alone = write(on, [row])[0]
        assert write(on, [row, *others])[0] == alone
        assert write(on, [*others, row])[-1] == alone
        assert write(on, [*others[:3], row, *others[3:] * 4])[3] == alone

    def test_joining_midway(self, dtype: torch.dtype, sampling: Sampling) -> None:
        on, row, others = decoder(dtype), self.row(sampling), strangers(sampling)
        alone = write(on, [row])[0]
        assert write(on, others, [row, *others[:2]])[len(others)] == alone
        assert write(on, [row], others, at=9)[0] == alone

    def test_with_a_prompt_of_one_token(self, dtype: torch.dtype, sampling: Sampling) -> None:
        on, row = decoder(dtype), self.row(sampling, [BOS])
        assert write(on, [row, self.row(sampling, SHORT), *strangers(sampling)])[0] == write(on, [row])[0]


@pytest.mark.sample
def test_the_sample_model(sample_store: StorePaths) -> None:
    """In bfloat16, where another company would show most: it rounds away 16 bits of every number."""
    recipe = load_recipe("sample")
    folder = sample_store.models / recipe.model.name
    on = Decoder(LanguageModel.load(folder, layer=recipe.model.layer, dtype=recipe.model.dtype))
    prompts = [[1, *range(100 * n, 100 * n + 3 * n + 4)] for n in range(6)]
    rows = [Row(prompt, (), Sampling(0.8 * (n % 2), 0.9, 16, n)) for n, prompt in enumerate(prompts)]
    alone = [write(on, [row])[0] for row in rows]
    assert write(on, rows) == alone
    assert write(on, rows[:2], rows[2:], at=4) == alone
    assert [write(on, [rows[0], row])[1] for row in rows] == alone


# ---- the sizes of groups


def kernel(order: Callable[[int, int], bool], dtype: torch.dtype = torch.float32, width: int = 48) -> Product:
    """A product that adds up from the other end in some (place, size)."""
    W_MK = cancelling_weights(40, width, torch.empty(0, dtype=dtype)).float()

    def multiply(x_BK: Tensor) -> Tensor:
        terms_BMK = (x_BK.float()[:, None] * W_MK).numpy()
        # A running sum adds up one by one.
        sums = [torch.from_numpy(terms.cumsum(2)[..., -1]) for terms in (terms_BMK, terms_BMK[..., ::-1])]
        turned_B = torch.tensor([order(place, len(x_BK)) for place in range(len(x_BK))])
        return torch.where(turned_B[:, None], sums[1], sums[0]).to(dtype)

    return multiply


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("order", "sizes"),
    [
        (lambda place, size: False, SIZES),
        (lambda place, size: size == 1, SIZES[1:]),
        (lambda place, size: size < 6, SIZES[3:]),
        (lambda place, size: size > 16, SIZES[:-1]),
        (lambda place, size: place == size - 1 and size > 4, (1, 2, 4)),
        (lambda place, size: place == 1, (1,)),
    ],
)
def test_sizes_are_those_in_which_every_place_gets_the_same_bits(
    order: Callable[[int, int], bool], sizes: tuple[int, ...], dtype: torch.dtype
) -> None:
    steady = kernel(lambda place, size: False, dtype, 31), 31
    assert group_sizes([steady, (kernel(order, dtype), 48)], torch.empty(0, dtype=dtype)) == sizes


def test_another_order_shows_nearly_everywhere_also_when_rounded_to_bfloat16() -> None:
    like = torch.empty(0, dtype=torch.bfloat16)
    x_BK = same_bits._cancelling_rows(4, 576, like)
    assert torch.equal(x_BK.double() @ cancelling_weights(300, 576, like).double().T, torch.zeros(4, 300).double())
    forward = kernel(lambda place, size: False, torch.bfloat16, 576)(x_BK)
    backward = kernel(lambda place, size: True, torch.bfloat16, 576)(x_BK)
    assert (forward != backward).float().mean() > 0.9


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ((1,), [([n], 1) for n in range(5)]),
        ((2, 4), [([0, 1, 2, 3], 4), ([4], 2)]),
        ((4, 8), [([0, 1, 2, 3, 4], 8)]),
    ],
)
def test_groups_hold_every_row_once(sizes: tuple[int, ...], groups: list[tuple[list[int], int]]) -> None:
    assert split_into_groups(list(range(5)), sizes) == groups
    assert split_into_groups([], sizes) == []


def test_rows_are_written_one_at_a_time_where_no_size_is_steady() -> None:
    on = Decoder(tiny_language_model())
    on.group_sizes, on.stop_ids = (1,), frozenset()
    rows = strangers(SAMPLED)
    assert write(on, rows) == [write(on, [row])[0] for row in rows]


def test_layers_before_the_features_are_read_once_for_equal_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    on, read = decoder(torch.float32), []
    run = Decoder._run

    def noting(self: Decoder, layers: range, *arguments: Any) -> Tensor:
        read.append(len(layers))
        return run(self, layers, *arguments)

    monkeypatch.setattr(Decoder, "_run", noting)
    rows = [Row(LONG, [Clamp(tiny_sae(), 4, strength)], Sampling(max_new_tokens=1)) for strength in SWEEP]
    next(iter(generate(on, [*rows, Row(SHORT)], sink_norm=1e9)))
    assert read == [2, *[1] * len(SWEEP), 2, 1]
