"""Attribution: of an output to features, of a feature to tokens, and the effect of a feature on the next tokens.

    attribution of feature i at token t to y:   f_i(x_t) * (d_i . dy/dx_t)
    effect of ablating feature i:               y(x) - y(x'),   x'_t = x_t - f_i(x_t) d_i
    what made it fire, token s:                 e_s . df_i(x_t)/de_s    (e_s: the token's embedding)

x is the residual stream after layer N, y a logit or the difference of two. To first order the effect is the sum of the
attributions over the tokens. Left-out positions (see left_out.py) are neither attributed to nor ablated at.

Shapes: L positions, D width, V vocabulary, K active (token, feature) pairs, A features of one batch of ablations, N
positions looked at.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.models.errors import ModelError
from pipeline.models.exact import ExactModel
from pipeline.models.promoted import highest
from pipeline.models.sae import SAE, SparseActivations

TOKENS_AT_ONCE = 1024
"""Positions in one batch of ablations."""
PAIRS_AT_ONCE = 65_536
"""Pairs whose directions are gathered at once."""
LOGITS_AT_ONCE = 1 << 24
"""Log-probabilities in memory at once."""
LEAST_CHANGE = 5e-4
"""A next token is listed as raised or lowered when its probability changes by this, a twentieth of a point."""
NO_TOKEN = -1
"""Stands where there is no further token to list."""


@dataclass(frozen=True)
class Target:
    """An output: the logit of a token, or of one token minus another's, as what follows a position."""

    token: int
    minus: int | None = None
    position: int | None = None
    """None is the last."""


class Trace(NamedTuple):
    """A target on a prompt. Positions after the target's cannot act on it and are cut off."""

    target: Target
    value: float
    """y"""
    x_LD: Tensor
    """The residual stream after layer N."""
    gradient_LD: Tensor
    """dy/dx"""
    left_out_L: Tensor
    """bool"""


class Attribution(NamedTuple):
    """The attributions of all active features of one SAE, sorted by token, then feature."""

    pairs: SparseActivations
    """Activations above zero at counted positions."""
    attribution_K: Tensor


class NextToken(NamedTuple):
    """A token that may follow."""

    token: int
    log_probability: float


class Firing(NamedTuple):
    """Attribution to tokens of a feature that fires at a position."""

    activation: float
    """f_i there, in float32 arithmetic."""
    effect_L: Tensor
    """Gradient times input of every token up to the position: signed, in units of activation."""


class Moved(NamedTuple):
    """A next token, with a feature and without it."""

    token: int
    log_probability: float
    """As the model is."""
    without: float
    """With the feature ablated."""

    @property
    def change(self) -> float:
        """Change of the probability by the feature."""
        return math.exp(self.log_probability) - math.exp(self.without)


class MovedTokens(NamedTuple):
    """The next tokens that features raise most, or lower most, after N positions, each [N, K]."""

    token_NK: Tensor
    """NO_TOKEN behind the last where there are fewer than K."""
    log_probability_NK: Tensor
    without_NK: Tensor

    def of(self, row: int) -> list[Moved]:
        """Those after one of the positions."""
        columns = (column_NK[row].tolist() for column_NK in self)
        return [Moved(*one) for one in zip(*columns, strict=True) if one[0] != NO_TOKEN]


class MovedAfter(NamedTuple):
    """The effect of a feature at one token on the next one."""

    kl: float
    """Of the distribution as it is from that without the feature, nats."""
    raised: list[Moved]
    """Most raised first."""
    lowered: list[Moved]


class Changes(NamedTuple):
    """The effect of a feature on the next tokens at N positions."""

    kl_N: Tensor
    """Of the distribution as it is from that without the feature, nats."""
    next_N: Tensor
    """Change by the feature of the log-probability of the token that does follow; 0 where none is known."""


def trace(model: ExactModel, x_LD: Tensor, left_out_L: Tensor, target: Target) -> Trace:
    """One forward and one backward from layer N on. Raises ModelError when the target is none of this prompt's."""
    position = _check_target(model, target, len(x_LD))
    x_LD, left_out_L = x_LD[: position + 1].detach(), left_out_L[: position + 1]
    with torch.enable_grad():
        leaf_LD = x_LD.to(model.dtype).requires_grad_()
        value = _values(model, leaf_LD[None], target)[0]
        (gradient_LD,) = torch.autograd.grad(value, leaf_LD)
    return Trace(target, float(value.detach()), leaf_LD.detach(), gradient_LD, left_out_L)


def attribute(traced: Trace, sae: SAE) -> Attribution:
    """The attributions of every active feature of an SAE at every counted token."""
    kept_N = torch.nonzero(~traced.left_out_L)[:, 0]
    found = sae.encode_sparse(traced.x_LD[kept_N].float())
    pairs = SparseActivations(kept_N[found.token_K], found.feature_K, found.value_K)
    slope_K = torch.empty_like(pairs.value_K, dtype=traced.x_LD.dtype)
    for start in range(0, len(slope_K), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        slope_K[part] = (traced.gradient_LD[pairs.token_K[part]] * sae.W_dec_FD[pairs.feature_K[part]]).sum(1)
    slope_K *= sae.token_scale(traced.x_LD)[pairs.token_K, 0]
    return Attribution(pairs, pairs.value_K * slope_K)


def ablate(
    model: ExactModel, traced: Trace, sae: SAE, features: Sequence[int], *, at: int | None = None
) -> Iterator[Tensor]:
    """The effect of each feature alone on y: y less y without it. Computed exactly, a batch of features at a time.

    at: ablate at this position only; None at all counted ones. Raises ModelError when there is no such feature.
    """
    _check_features(sae, features)
    size = max(1, TOKENS_AT_ONCE // len(traced.x_LD))
    for start in range(0, len(features), size):
        x_ALD = _without(traced.x_LD, traced.left_out_L, sae, features[start : start + size], at)
        with torch.no_grad():
            yield traced.value - _values(model, x_ALD, traced.target)


@torch.no_grad()
def predictions(model: ExactModel, x_LD: Tensor, position: int, number: int) -> list[NextToken]:
    """The most probable tokens after a position, most probable first."""
    hidden_LD = model.hidden_from(x_LD[None, : position + 1])[0]
    log_N, token_N = model.log_probabilities(hidden_LD[-1:])[0].topk(min(number, model.vocab_size))
    return [NextToken(*one) for one in zip(token_N.tolist(), log_N.tolist(), strict=True)]


def fire(model: ExactModel, sae: SAE, feature: int, tokens_L: Tensor, position: int) -> Firing:
    """Attribute a feature that fires to tokens: one forward and one backward through layers 0 to N.

    Raises ModelError when it is inactive there: an inactive feature has no gradient.
    """
    _check_features(sae, [feature])
    if not 0 <= position < len(tokens_L):
        raise ModelError(f"there is no position {position}: the text has {len(tokens_L)} tokens")
    with torch.enable_grad():
        embedding_LD = model.embed(tokens_L[None, : position + 1])[0].requires_grad_()
        x_D = model.residuals_from(embedding_LD[None])[0, position]
        active = float(sae.encode(x_D.detach()[None].float(), torch.tensor([feature], device=sae.device)))
        if active <= 0:
            raise ModelError(f"feature {feature} is inactive on this token: choose one on which it is active")
        read_D = sae.standardise(x_D).to(x_D.dtype)
        activation = sae.W_enc_FD[feature].to(x_D.dtype) @ read_D + sae.b_enc_F[feature]
        (gradient_LD,) = torch.autograd.grad(activation, embedding_LD)
    return Firing(float(activation.detach()), (gradient_LD * embedding_LD.detach()).sum(1))


@torch.no_grad()
def changes(
    model: ExactModel, sae: SAE, feature: int, x_LD: Tensor, left_out_L: Tensor, tokens_L: Tensor, positions: range
) -> Changes:
    """The effect of a feature, at all counted positions, on the next tokens at some positions (in steps of 1)."""
    hidden_2LD = _with_and_without(model, sae, feature, x_LD[: positions.stop], left_out_L[: positions.stop])
    size = max(1, LOGITS_AT_ONCE // (2 * model.vocab_size))
    kl, following = [], []
    for start in range(positions.start, positions.stop, size):
        stop = min(start + size, positions.stop)
        log_NV, without_NV = (model.log_probabilities(hidden_LD[start:stop]) for hidden_LD in hidden_2LD)
        kl.append((log_NV.exp() * (log_NV - without_NV)).sum(1).clamp_min(0))
        next_N = tokens_L[start + 1 : stop + 1].to(log_NV.device)
        row_N = torch.arange(len(next_N), device=log_NV.device)
        known_N = log_NV[row_N, next_N] - without_NV[row_N, next_N]
        following.append(torch.cat([known_N, known_N.new_zeros(stop - start - len(next_N))]))
    return Changes(torch.cat(kl), torch.cat(following))


@torch.no_grad()
def moved(
    model: ExactModel, sae: SAE, feature: int, x_LD: Tensor, left_out_L: Tensor, position: int, number: int
) -> MovedAfter:
    """The effect of a feature at one position alone on the next token there; at most `number` tokens each way."""
    hidden_2LD = _with_and_without(model, sae, feature, x_LD[: position + 1], left_out_L[: position + 1], position)
    log_1V, without_1V = (model.log_probabilities(hidden_LD[-1:]) for hidden_LD in hidden_2LD)
    raised, lowered = (found.of(0) for found in moved_tokens(log_1V, without_1V, number))
    return MovedAfter(float((log_1V.exp() * (log_1V - without_1V)).sum().clamp_min(0)), raised, lowered)


def moved_tokens(log_NV: Tensor, without_NV: Tensor, number: int) -> tuple[MovedTokens, MovedTokens]:
    """The next tokens whose probability is most raised and most lowered, by LEAST_CHANGE at least.

    log_NV, without_NV: log-probabilities with a feature and without it.
    """
    change_NV = log_NV.exp() - without_NV.exp()
    raised_NV = _most_changed(change_NV, log_NV, without_NV, number)
    return raised_NV, _most_changed(change_NV.neg_(), log_NV, without_NV, number)


def _most_changed(change_NV: Tensor, log_NV: Tensor, without_NV: Tensor, number: int) -> MovedTokens:
    token_NK, change_NK = highest(change_NV, number)
    values = (log_NV.gather(1, token_NK), without_NV.gather(1, token_NK))
    return MovedTokens(token_NK.masked_fill(change_NK < LEAST_CHANGE, NO_TOKEN), *values)


def _with_and_without(
    model: ExactModel, sae: SAE, feature: int, x_LD: Tensor, left_out_L: Tensor, at: int | None = None
) -> Tensor:
    """Input of the head [2, L, D]: as it is, and with the feature ablated, at one position or at all counted ones."""
    _check_features(sae, [feature])
    x_LD = x_LD.to(model.dtype)
    return model.hidden_from(torch.cat([x_LD[None], _without(x_LD, left_out_L, sae, [feature], at)]))


def _without(x_LD: Tensor, left_out_L: Tensor, sae: SAE, features: Sequence[int], at: int | None) -> Tensor:
    """The residual stream without each of the features [A, L, D]."""
    feature_A = torch.tensor(features, device=sae.device)
    acts_LA = sae.encode(x_LD.float(), feature_A).masked_fill(left_out_L[:, None], 0.0)
    if at is not None:
        elsewhere_L = torch.arange(len(x_LD), device=x_LD.device) != at
        acts_LA = acts_LA.masked_fill(elsewhere_L[:, None], 0.0)
    acts_LA = acts_LA * sae.token_scale(x_LD)
    return x_LD - acts_LA.T[:, :, None] * sae.W_dec_FD[feature_A][:, None]


def _values(model: ExactModel, x_BLD: Tensor, target: Target) -> Tensor:
    """y of each row [B], at its last position."""
    tokens = [target.token] if target.minus is None else [target.token, target.minus]
    logits_BT = model.logits(model.hidden_from(x_BLD)[:, -1], tokens)
    return logits_BT[:, 0] if target.minus is None else logits_BT[:, 0] - logits_BT[:, 1]


def _check_target(model: ExactModel, target: Target, length: int) -> int:
    """The target's position."""
    for token in (target.token, target.minus):
        if token is not None and not 0 <= token < model.vocab_size:
            raise ModelError(f"there is no token {token}: they go from 0 to {model.vocab_size - 1}")
    if target.token == target.minus:
        raise ModelError("the target is a token minus itself: choose two different tokens")
    position = length - 1 if target.position is None else target.position
    if not 0 <= position < length:
        raise ModelError(f"there is no position {position}: the text has {length} tokens")
    return position


def _check_features(sae: SAE, features: Sequence[int]) -> None:
    for feature in features:
        if not 0 <= feature < sae.num_features:
            raise ModelError(f"{sae.header.name} has no feature {feature}: they go from 0 to {sae.num_features - 1}")
