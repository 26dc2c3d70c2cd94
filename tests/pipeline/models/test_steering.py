"""Steering against a plain reference: a forward hook on transformers, without a cache."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from pipeline.models.decoder import Decoder
from pipeline.models.errors import ModelError
from pipeline.models.sae import SAE
from pipeline.models.steering import Clamp, Steering
from tests.support.models import WIDTH, reference_logits, tiny_language_model, tiny_sae

BOS = 256
PROMPT = [BOS, 11, 42, 7, 99, 3]


def decoded_logits(
    tokens: Sequence[int],
    clamps: Sequence[Sequence[Clamp]],
    sink_norm: float,
    prompt: int,
    starts: Sequence[int] | None = None,
) -> Tensor:
    """Logits [B, L - prompt + 1, V] of the decoder: a prompt at once, then one token after the other."""
    decoder, rows = Decoder(tiny_language_model()), len(clamps)
    steerings = [
        Steering([held], sink_norm=sink_norm, starts=None if starts is None else [starts[row]])
        for row, held in enumerate(clamps)
    ]
    caches = [decoder.cache(len(tokens)) for _ in clamps]

    def edit(row: int, x_LD: Tensor, positions_L: Tensor) -> Tensor:
        return steerings[row].apply(x_LD[None], positions_L[None]).x_BLD[0]

    parts = [tokens[:prompt], *([token] for token in tokens[prompt:])]
    found = [decoder.read([part] * rows, caches, edit) for part in map(list, parts)]
    return torch.stack([logits for logits in found if logits is not None], dim=1)


CASES = {
    "one": lambda: [Clamp(tiny_sae(), 3, 4.0)],
    "several": lambda: [Clamp(sae := tiny_sae(), 3, 4.0), Clamp(sae, 5, -2.5), Clamp(sae, 6, 0.0)],
    "two sizes": lambda: [Clamp(tiny_sae(), 3, 4.0), Clamp(tiny_sae(48, seed=1), 40, 3.0), Clamp(tiny_sae(), 1, 1.0)],
    "jumprelu": lambda: [Clamp(tiny_sae(nonlinearity="jumprelu"), 2, 0.0), Clamp(tiny_sae(), 1, 5.0)],
    "topk": lambda: [Clamp(sae := tiny_sae(nonlinearity="topk"), 2, 0.0), Clamp(sae, 9, 3.0)],
    "measured only": lambda: [Clamp(tiny_sae(), 3, None)],
    "added": lambda: [Clamp(tiny_sae(), 3, 4.0, "add")],
    "ablated": lambda: [Clamp(tiny_sae(), feature, 0.0, "ablate") for feature in range(8)],
    "all modes": lambda: [Clamp(sae := tiny_sae(), 3, 4.0), Clamp(sae, 5, -6.0, "add"), Clamp(sae, 6, 0.0, "ablate")],
    "modes on topk": lambda: [Clamp(s := tiny_sae(nonlinearity="topk"), 2, 3.0, "add"), Clamp(s, 9, 0.0, "ablate")],
}


@pytest.mark.parametrize("case", CASES)
def test_steered_logits_equal_a_hook_at_prompt_and_written_positions(case: str) -> None:
    clamps = CASES[case]()
    expected = reference_logits(PROMPT, clamps, 1e9, [])[2:]
    torch.testing.assert_close(decoded_logits(PROMPT, [clamps], 1e9, prompt=3)[0], expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("prompt", [1, 3, 5])
def test_only_written_positions_are_steered_when_asked(prompt: int) -> None:
    clamps = CASES["all modes"]()
    expected = reference_logits(PROMPT, clamps, 1e9, [], start=prompt)[prompt - 1 :]
    found = decoded_logits(PROMPT, [clamps], 1e9, prompt=prompt, starts=[prompt])[0]
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)
    torch.testing.assert_close(found[0], reference_logits(PROMPT, [], 1e9, [])[prompt - 1], atol=2e-4, rtol=2e-4)


def test_each_row_of_a_batch_has_its_own_modes_and_scope() -> None:
    sae = tiny_sae()
    rows = [CASES["all modes"](), [Clamp(sae, 3, 4.0)], [Clamp(sae, 3, 4.0, "add")], [Clamp(sae, 3, 0.0, "ablate")], []]
    for starts in ([0, 3, 3, 3, 0], [3, 0, 0, 0, 3]):
        found = decoded_logits(PROMPT, rows, 1e9, prompt=3, starts=starts)
        for row, (clamps, start) in enumerate(zip(rows, starts, strict=True)):
            expected = reference_logits(PROMPT, clamps, 1e9, [], start=start)[2:]
            torch.testing.assert_close(found[row], expected, atol=2e-4, rtol=2e-4)


def test_each_row_of_a_batch_has_its_own_features() -> None:
    sae = tiny_sae()
    rows: list[list[Clamp]] = [[], [Clamp(sae, 3, 4.0)], [Clamp(sae, 5, 2.0), Clamp(tiny_sae(seed=2), 1, -3.0)]]
    found = decoded_logits(PROMPT, rows, 1e9, prompt=4)
    for row, clamps in enumerate(rows):
        expected = reference_logits(PROMPT, clamps, 1e9, [])[3:]
        torch.testing.assert_close(found[row], expected, atol=2e-4, rtol=2e-4)
    assert (found[0] - found[1]).abs().max() > 0.1


def test_sinks_are_left_alone() -> None:
    seen: list[Tensor] = []
    reference_logits(PROMPT, [], 1e9, seen)
    norms = seen[0][0].norm(dim=-1)
    threshold = float(norms[1:].median())
    assert (norms[1:] > threshold).any()
    assert (norms[1:] < threshold).any()
    clamps = [Clamp(tiny_sae(), 3, 6.0)]
    expected = reference_logits(PROMPT, clamps, threshold, [])[2:]
    torch.testing.assert_close(decoded_logits(PROMPT, [clamps], threshold, prompt=3)[0], expected, atol=2e-4, rtol=2e-4)


def test_a_row_without_clamps_is_unchanged_to_the_bit_beside_others() -> None:
    x_BLD = torch.randn(2, 5, WIDTH).to(torch.bfloat16)
    rows = [[], [Clamp(sae := tiny_sae(), 3, 7.0), Clamp(sae, 4, 5.0, "add")]]
    steered = Steering(rows, sink_norm=None).apply(x_BLD, torch.arange(1, 6).expand(2, -1))
    assert torch.equal(steered.x_BLD[0], x_BLD[0])
    assert not torch.equal(steered.x_BLD[1], x_BLD[1])


def test_the_error_of_the_sae_stays_in() -> None:
    """Only the clamped direction changes: what is orthogonal to it is as it was."""
    sae, x_BLD = tiny_sae(), torch.randn(1, 4, WIDTH)
    steering = Steering([[Clamp(sae, 3, 2.0)]], sink_norm=None)
    change = steering.apply(x_BLD, torch.arange(1, 5)[None]).x_BLD - x_BLD
    expected = (2.0 - sae.encode(x_BLD[0])[:, 3])[:, None] * sae.W_dec_FD[3]
    torch.testing.assert_close(change[0], expected, atol=1e-5, rtol=1e-5)


def test_activations_are_those_held_and_zero_where_left_out() -> None:
    sae, x_BLD = tiny_sae(), torch.randn(2, 4, WIDTH)
    rows = [[Clamp(sae, 3, None), Clamp(sae, 4, 0.0)], [Clamp(sae, 3, 5.0), Clamp(sae, 4, 2.0, "add")]]
    steering = Steering(rows, sink_norm=None, starts=[0, 2])
    found = steering.apply(x_BLD, torch.arange(4).expand(2, -1))
    plain = sae.encode(x_BLD.flatten(0, 1)).view(2, 4, -1)
    three, four = steering.slots[0]
    assert not found.activations_BLK[:, 0].any()
    torch.testing.assert_close(found.activations_BLK[0, 1:, three], plain[0, 1:, 3])
    assert not found.activations_BLK[0, 1:, four].any()
    assert torch.equal(found.activations_BLK[1, 2:, three], torch.full((2,), 5.0))
    torch.testing.assert_close(found.activations_BLK[1, 2:, four], plain[1, 2:, 4] + 2.0)
    torch.testing.assert_close(found.activations_BLK[1, 1, [three, four]], plain[1, 1, 3:5])


def test_what_cannot_be_applied_is_refused() -> None:
    sae: SAE = tiny_sae()
    for make in (
        lambda: Clamp(sae, sae.num_features, 1.0),
        lambda: Clamp(sae, -1, 1.0),
        lambda: Clamp(sae, 0, float("nan")),
        lambda: Clamp(sae, 0, float("inf")),
        lambda: Clamp(sae, 0, 2.0, "ablate"),
        lambda: Steering([[Clamp(sae, 1, 1.0), Clamp(sae, 1, 2.0)]], sink_norm=None),
    ):
        with pytest.raises(ModelError):
            make()
