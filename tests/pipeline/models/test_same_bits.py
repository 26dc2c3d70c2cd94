"""A text is the same alone, in a pair, in a sweep, among strangers and when it joins midway, to the bit.

Not only its tokens: their probabilities and the features' activations too, in float32 and in bfloat16.
"""

from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor

from data.layout import StorePaths
from pipeline.models.decoder import Decoder
from pipeline.models.generate import ReadToken, Row, Sampling, generate
from pipeline.models.language_model import LanguageModel
from pipeline.models.same_bits import SIZES, group_sizes, split_into_groups
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


def exact(x_BD: Tensor) -> list[Tensor]:
    return [x_BD, 2 * x_BD]


def another_order(x_BD: Tensor) -> Tensor:
    return x_BD + 2**-20


def changed_at(is_changed: Callable[[int, int], bool]) -> Callable[[Tensor], list[Tensor]]:
    """A kernel that gives other bits to some (place, size)."""

    def compute(x_BD: Tensor) -> list[Tensor]:
        size = len(x_BD)
        return [torch.stack([another_order(x) if is_changed(n, size) else x.clone() for n, x in enumerate(x_BD)])]

    return compute


@pytest.mark.parametrize(
    ("compute", "sizes"),
    [
        (exact, SIZES),
        (changed_at(lambda place, size: size == 1), SIZES[1:]),
        (changed_at(lambda place, size: size < 8), tuple(size for size in SIZES if size >= 8)),
        (changed_at(lambda place, size: size > 6), tuple(size for size in SIZES if size > 6)),
        (changed_at(lambda place, size: size > 16), tuple(size for size in SIZES if size <= 16)),
        (changed_at(lambda place, size: place == size - 1 and size > 4), (1, 2, 4)),
        (changed_at(lambda place, size: place == 1), (1,)),
    ],
)
def test_sizes_are_those_in_which_every_place_gets_the_same_bits(
    compute: Callable[[Tensor], list[Tensor]], sizes: tuple[int, ...]
) -> None:
    assert group_sizes(compute, 24, torch.empty(0)) == sizes


def test_what_is_no_number_agrees_with_itself() -> None:
    assert group_sizes(lambda x_BD: [x_BD * float("nan")], 24, torch.empty(0)) == SIZES


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
