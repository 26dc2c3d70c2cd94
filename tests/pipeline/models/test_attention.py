"""Attention of next tokens together, against the library's for each row by itself."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.models import attention
from pipeline.models.attention import PLACES, TOGETHER, attend_next, groups_by_places, rows_together

LENGTHS = [1, 5, PLACES, PLACES + 1, PLACES + 9, 3 * PLACES]


def rows(heads: int, groups: int, width: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(len(LENGTHS), heads, length, width) for length in (groups, 3 * PLACES, 3 * PLACES)]
    return [torch.randn(*shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_each_row_attends_to_its_own_tokens_alone(dtype: torch.dtype, tolerance: float) -> None:
    query, keys, values = rows(2, 3, 16, dtype)
    found = attend_next(query, keys, values, LENGTHS, 0.3)
    for row, length in enumerate(LENGTHS):
        own = [part[row : row + 1, :, :length] for part in (keys, values)]
        expected = F.scaled_dot_product_attention(query[row : row + 1], *own, scale=0.3)[0]
        torch.testing.assert_close(found[row], expected, atol=tolerance, rtol=0)


def test_what_lies_behind_a_row_and_who_is_beside_it_change_no_bit() -> None:
    query, keys, values = rows(2, 3, 16, torch.float32)
    found = attend_next(query, keys, values, LENGTHS, 0.3)
    for row, length in enumerate(LENGTHS):
        keys[row, :, length:], values[row, :, length:] = 7.0, -7.0
    assert torch.equal(attend_next(query, keys, values, LENGTHS, 0.3), found)
    flipped = attend_next(query.flip(0), keys.flip(0), values.flip(0), LENGTHS[::-1], 0.3).flip(0)
    assert torch.equal(flipped, found)


def test_rows_that_have_as_many_places_are_together() -> None:
    lengths = [1, 40, PLACES, 2 * PLACES, 2]
    assert groups_by_places(lengths, 2) == [(PLACES, [0, 2]), (PLACES, [4]), (2 * PLACES, [1, 3])]
    assert groups_by_places(lengths, 1) == [
        (places, [row]) for places, same in ((32, [0, 2, 4]), (64, [1, 3])) for row in same
    ]


def test_where_company_changes_a_bit_rows_attend_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    like = torch.empty(0, dtype=torch.bfloat16)
    assert rows_together(3, 3, 64, like) == TOGETHER
    exact = attention.attend_next

    def depends(query: torch.Tensor, *others: object) -> torch.Tensor:
        return exact(query, *others).mul_(1 + 1e-6 * (len(query) == 7))  # type: ignore[arg-type]

    monkeypatch.setattr(attention, "attend_next", depends)
    assert rows_together(3, 3, 64, like) == 1
