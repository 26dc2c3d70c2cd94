"""Parts of a decoder against plain formulas."""

import torch

from pipeline.models import decoder_parts
from pipeline.models.decoder_parts import Rope, rotate, uncut
from tests.support.models import tiny_llama


def test_uncut_gives_what_the_function_gives_and_never_more_rows_at_once_than_are_worked_off_in_one_go() -> None:
    x_ND, y_ND = torch.randn(2, 50, 1500).unbind()
    seen: list[int] = []

    def both(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen.append(x.numel())
        return x * y

    assert torch.equal(uncut(both, x_ND, y_ND), x_ND * y_ND)
    assert max(seen) < decoder_parts.UNCUT
    assert uncut(torch.neg, torch.ones(3, 2 * decoder_parts.UNCUT)).shape == (3, 2 * decoder_parts.UNCUT)


def test_the_rotary_table_grows_to_the_positions_that_are_read() -> None:
    rotary = tiny_llama().model.rotary_emb
    rope = Rope(rotary, torch.float32)
    positions_N = torch.tensor([700, 0, 255, 256])
    expected = rotary(torch.empty(0), positions_N[None])
    for found, part in zip(rope(positions_N), expected, strict=True):
        torch.testing.assert_close(found, part[0])


def test_rotation_at_position_0_changes_nothing() -> None:
    x_NHE = torch.randn(3, 4, 8)
    rope = Rope(tiny_llama().model.rotary_emb, torch.float32)
    torch.testing.assert_close(rotate(x_NHE, rope(torch.zeros(3, dtype=torch.long))), x_NHE)
