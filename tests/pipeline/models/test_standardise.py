"""SAEs that normalise each token by itself: what a feature writes is as long as the token that it reads makes it."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.influence.effects import _contributions
from pipeline.models.attribution import ablate, attribute, fire, trace
from pipeline.models.sae import SAE
from pipeline.models.standardise import Normalisation
from pipeline.models.steering import Clamp, Steering
from tests.pipeline.models.test_attribution import LEFT_OUT, TARGETS, TOKENS, tiny, value_at
from tests.support.models import WIDTH, tiny_sae

LENGTHS: dict[Normalisation, Callable[[Tensor], Tensor]] = {
    "layer_norm": lambda x_ND: (
        (x_ND - x_ND.mean(-1, keepdim=True)).square().sum(-1, keepdim=True).div(WIDTH - 1).sqrt()
    ),
    "constant_norm": lambda x_ND: x_ND.square().mean(-1, keepdim=True).sqrt(),
}
"""Of an activation of 1, by the definitions."""
kinds = pytest.mark.parametrize("kind", LENGTHS)


def normalised(kind: Normalisation, seed: int = 0) -> SAE:
    sae = tiny_sae(seed=seed)
    tensors = (sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D, sae.threshold_F)
    return SAE(replace(sae.header, normalisation=kind), *tensors)


def activations(sae: SAE, kind: Normalisation, x_ND: Tensor) -> Tensor:
    """[N, F], float64."""
    x_ND = x_ND.double()
    mean_N1 = x_ND.mean(-1, keepdim=True) if kind == "layer_norm" else 0.0
    read_ND = (x_ND - mean_N1) / (LENGTHS[kind](x_ND) + (1e-5 if kind == "layer_norm" else 0.0))
    return (read_ND @ sae.W_enc_FD.double().T + sae.b_enc_F.double()).relu()


def rows(number: int = 12) -> Tensor:
    """Rows of different lengths, float32."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(number, WIDTH, generator=generator) * torch.linspace(0.5, 8, number)[:, None] + 0.3


@kinds
def test_some_features_alone_read_the_same(kind: Normalisation) -> None:
    sae, x_ND, chosen = normalised(kind), rows(), torch.tensor([2, 5, 11])
    expected_NF = activations(sae, kind, x_ND)
    torch.testing.assert_close(sae.encode(x_ND).double(), expected_NF, atol=1e-4, rtol=1e-4)
    threshold_C = torch.tensor([0.5, 0.0, 1.0])
    some_NC = expected_NF[:, chosen] * (expected_NF[:, chosen] > threshold_C)
    among = sae.among(chosen, threshold_C)
    torch.testing.assert_close(among.encode(x_ND).double(), some_NC, atol=1e-4, rtol=1e-4)
    [found] = among.encode_by_feature(x_ND)
    assert len(found.value_K) == int((some_NC > 0).sum()) > 3


@kinds
def test_what_is_held_is_as_long_as_its_token(kind: Normalisation) -> None:
    sae, other, x_ND = normalised(kind), tiny_sae(seed=1), rows()
    steering = Steering([[Clamp(sae, 3, 4.0), Clamp(other, 6, 2.0), Clamp(sae, 5, -1.0)]], sink_norm=None)
    found_ND = steering.apply(x_ND[None], torch.arange(len(x_ND))[None]).x_BLD[0]
    acts_NF, length_N1 = activations(sae, kind, x_ND).float(), LENGTHS[kind](x_ND)
    expected_ND = x_ND + (2.0 - other.encode(x_ND)[:, 6, None]) * other.W_dec_FD[6]
    for feature, value in ((3, 4.0), (5, -1.0)):
        expected_ND = expected_ND + (value - acts_NF[:, feature, None]) * length_N1 * sae.W_dec_FD[feature]
    torch.testing.assert_close(found_ND[1:], expected_ND[1:], atol=1e-4, rtol=1e-4)


@kinds
def test_ablation_and_attribution_take_off_what_is_written(kind: Normalisation) -> None:
    _, model, x_LD = tiny()
    sae, target, step = normalised(kind), TARGETS["a token minus another"], 1e-5
    written_LFD = (activations(sae, kind, x_LD) * LENGTHS[kind](x_LD))[:, :, None] * sae.W_dec_FD.double()
    written_LFD[LEFT_OUT] = 0.0
    traced = trace(model, x_LD, LEFT_OUT, target)
    [effect_A] = ablate(model, traced, sae, [3, 5])
    for effect, feature in zip(effect_A.tolist(), (3, 5), strict=True):
        without = value_at(model, x_LD - written_LFD[:, feature], target)
        assert effect == pytest.approx(traced.value - without, rel=1e-3, abs=1e-4)
    found = attribute(traced, sae)
    for number in range(0, len(found.attribution_K), 9):
        token, feature = int(found.pairs.token_K[number]), int(found.pairs.feature_K[number])
        direction_LD = torch.zeros_like(x_LD)
        direction_LD[token] = written_LFD[token, feature]
        ends = [value_at(model, x_LD + sign * step * direction_LD, target) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float(found.attribution_K[number]) == pytest.approx(slope, rel=1e-3, abs=1e-4)


@kinds
def test_what_made_it_fire_is_the_slope_through_the_normalisation(kind: Normalisation) -> None:
    _, model, x_LD = tiny()
    sae, position, step = normalised(kind), 5, 1e-4
    feature = int(activations(sae, kind, x_LD)[position].argmax())
    embedding_LD = model.embed(TOKENS[None, : position + 1])[0]

    def active(scale: float) -> float:
        with torch.no_grad():
            x_D = model.residuals_from(scale * embedding_LD[None])[0, position]
        return float(activations(sae, kind, x_D[None])[0, feature])

    found = fire(model, sae, feature, TOKENS, position)
    assert found.activation == pytest.approx(active(1.0), rel=1e-4)
    slope = (active(1 + step) - active(1 - step)) / (2 * step)
    assert float(found.effect_L.sum()) == pytest.approx(slope, rel=1e-2, abs=1e-3)


@kinds
def test_effects_take_off_what_is_written(kind: Normalisation) -> None:
    saes, x_ND = [tiny_sae(), normalised(kind, 1)], rows(4)
    sae_M, index_M = np.array([1, 0, 1, 0]), np.array([4, 4, 7, 9])
    activation_M = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    cases = SimpleNamespace(sae_M=sae_M, index_M=index_M, activation_M=activation_M)
    found_CD = _contributions(saes, cases, x_ND)  # type: ignore[arg-type]
    for number, (sae, index) in enumerate(zip(sae_M, index_M, strict=True)):
        length = float(LENGTHS[kind](x_ND)[number]) if sae else 1.0
        expected_D = float(activation_M[number]) * length * saes[sae].W_dec_FD[index]
        torch.testing.assert_close(found_CD[number], expected_D)
