"""Every training step against autograd on a plain statement of the loss, and planted dictionaries that come back."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.models.sae import SAE, Nonlinearity, SAEHeader
from pipeline.training import architecture as architectures
from pipeline.training import relu, topk
from pipeline.training.architecture import Architecture
from pipeline.training.relu import ReLU
from pipeline.training.tiles import DenseTile, Rows, SparseTile, Weights, count_above_zero, find_above, gather_pairs
from pipeline.training.topk import BatchTopK, TopK

B, D, F, K = 24, 10, 30, 4
EXACT: dict[str, Any] = {"seed": 0, "dtype": torch.float64, "low": torch.float64}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products this small are slower on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def batch(seed: int = 1, num_tokens: int = B) -> Tensor:
    return torch.randn(num_tokens, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def untie(model: Architecture, seed: int = 2) -> None:
    """Give every weight a value of its own, so that no gradient is right by symmetry."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.weights:
        weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    if model.unit_decoder:
        model.weights.W_dec_FD.div_(model.weights.W_dec_FD.norm(dim=1, keepdim=True))
    model.low_W_enc_FD.copy_(model.weights.W_enc_FD)


def leaves(model: Architecture) -> Weights:
    return Weights(*(weight.detach().clone().requires_grad_() for weight in model.weights))


def pre_activations(w: Weights, x_BD: Tensor) -> Tensor:
    return x_BD @ w.W_enc_FD.t() + w.b_enc_F


def squared_error(w: Weights, f_BF: Tensor, x_BD: Tensor) -> Tensor:
    return (f_BF @ w.W_dec_FD + w.b_dec_D - x_BD).square().sum(1).mean()


def assert_same_gradients(model: Architecture, w: Weights, loss: Tensor) -> None:
    loss.backward()
    for name, ours, leaf in zip(Weights._fields, model.grads, w, strict=True):
        assert leaf.grad is not None
        torch.testing.assert_close(
            ours, leaf.grad, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("tile", [F, 7])
@pytest.mark.parametrize("dense_share", [0.0, 1.0])
def test_relu_gradients_are_autograds_dense_and_sparse(monkeypatch, dense_share, tile):
    monkeypatch.setattr(relu, "DENSE_SHARE", dense_share)
    monkeypatch.setattr(architectures, "TRAINING_TILE_FEATURES", tile)
    model, x_BD = ReLU(F, D, l1_coefficient=0.7, **EXACT), batch()
    untie(model)
    kind = type(model._activate(Rows.of(x_BD, torch.float64), model.tiles[0]))
    assert kind is (DenseTile if dense_share == 0 else SparseTile)
    stats = model.compute_gradients(Rows.of(x_BD, torch.float64), warmup=0.5)
    w = leaves(model)
    f_BF = pre_activations(w, x_BD).relu()
    loss = squared_error(w, f_BF, x_BD) + 0.5 * 0.7 * (f_BF * w.W_dec_FD.norm(dim=1)).sum(1).mean()
    assert stats.loss == pytest.approx(loss.item(), rel=1e-12)
    assert stats.num_active == int((f_BF > 0).sum())
    assert stats.squared_norm == pytest.approx(x_BD.square().sum().item(), rel=1e-12)
    assert_same_gradients(model, w, loss)


def topk_mask(pre_BF: Tensor) -> Tensor:
    mask_BF = torch.zeros_like(pre_BF, dtype=torch.bool).scatter_(1, pre_BF.topk(K, dim=1).indices, True)
    return mask_BF & (pre_BF > 0)


def batch_topk_mask(pre_BF: Tensor) -> Tensor:
    return (pre_BF >= pre_BF.flatten().topk(K * len(pre_BF)).values[-1]) & (pre_BF > 0)


@pytest.mark.parametrize("tile", [F, 7, 3])
@pytest.mark.parametrize(("kind", "mask_of"), [(TopK, topk_mask), (BatchTopK, batch_topk_mask)])
def test_topk_gradients_are_autograds(monkeypatch, kind, mask_of, tile):
    monkeypatch.setattr(architectures, "TRAINING_TILE_FEATURES", tile)
    model = kind(F, D, k=K, auxiliary_coefficient=1 / 32, dead_window=10**9, **EXACT)
    untie(model)
    for seed in (1, 2, 3):  # BatchTopK looks first where the last batch's smallest value was
        x_BD, w = batch(seed), leaves(model)
        stats = model.compute_gradients(Rows.of(x_BD, torch.float64), warmup=1.0)
        pre_BF = pre_activations(w, x_BD)
        mask_BF = mask_of(pre_BF.detach())
        assert stats.num_active == int(mask_BF.sum())
        loss = squared_error(w, pre_BF * mask_BF, x_BD)
        assert stats.loss == pytest.approx(loss.item(), rel=1e-12)
        assert_same_gradients(model, w, loss)


@pytest.mark.parametrize("most", [512, 3])
def test_the_auxiliary_loss_of_dead_features_is_autograds(monkeypatch, most):
    monkeypatch.setattr(topk, "AUXILIARY_FEATURES", most)
    model = TopK(F, D, k=K, auxiliary_coefficient=0.25, dead_window=100, **EXACT)
    untie(model)
    model.tokens_seen = 1000
    model.last_active_F.fill_(1000)
    dead_U = torch.tensor([2, 5, 11, 17, 23, 27, 29])
    assert len(dead_U) > D // 2, "so that half the width is a limit"
    model.last_active_F[dead_U] = 899
    x_BD, w = batch(), leaves(model)
    stats = model.compute_gradients(Rows.of(x_BD, torch.float64), warmup=1.0)
    pre_BF = pre_activations(w, x_BD)
    f_BF = pre_BF * topk_mask(pre_BF.detach())
    error_BD = (x_BD - f_BF @ w.W_dec_FD - w.b_dec_D).detach()
    z_BU = pre_BF[:, dead_U].relu()
    kept_BU = torch.zeros_like(z_BU).scatter_(1, z_BU.topk(min(most, D // 2), dim=1).indices, 1.0)
    auxiliary = (error_BD - (z_BU * kept_BU) @ w.W_dec_FD[dead_U]).square().sum(1).mean()
    loss = squared_error(w, f_BF, x_BD) + 0.25 * auxiliary
    assert stats.loss == pytest.approx(loss.item(), rel=1e-12)
    assert_same_gradients(model, w, loss)


@pytest.mark.parametrize(("width", "expected"), [(576, 288), (3072, 512), (1, 1)])
def test_auxiliary_features_are_at_most_half_the_width(width, expected):
    model = TopK(4, width, k=1, auxiliary_coefficient=0.25, dead_window=100, seed=0)
    assert model.num_auxiliary == expected


def test_bfloat16_products_stay_close_to_exact_ones():
    x_BD = batch().float()
    low = ReLU(F, D, l1_coefficient=0.7, seed=0)
    exact = ReLU(F, D, l1_coefficient=0.7, seed=0, low=torch.float32)
    low.compute_gradients(Rows.of(x_BD, torch.bfloat16), 1.0)
    exact.compute_gradients(Rows.of(x_BD, torch.float32), 1.0)
    for ours, reference in zip(low.grads, exact.grads, strict=True):
        assert (ours - reference).norm() < 0.02 * reference.norm()


def test_a_step_is_adam_with_the_gradient_norm_clipped():
    model, x_BD = ReLU(F, D, l1_coefficient=5.0, **EXACT), 30 * batch()
    w = leaves(model)
    adam = torch.optim.Adam(w, lr=1e-2, betas=(0.9, 0.999))
    for step in range(5):
        f_BF = pre_activations(w, x_BD).relu()
        adam.zero_grad()
        (squared_error(w, f_BF, x_BD) + 5.0 * (f_BF * w.W_dec_FD.norm(dim=1)).sum(1).mean()).backward()
        assert torch.nn.utils.clip_grad_norm_(w, 1.0) > 1
        adam.step()
        model.step(x_BD, learning_rate=1e-2, warmup=1.0)
        for ours, reference in zip(model.weights, w, strict=True):
            torch.testing.assert_close(
                ours, reference.detach(), rtol=1e-6, atol=1e-9, msg=lambda t, s=step: f"{s}: {t}"
            )


def test_topk_decoders_keep_norm_one():
    model = TopK(F, D, k=K, auxiliary_coefficient=0.0, dead_window=100, **EXACT)
    for seed in range(3):
        model.step(batch(seed), learning_rate=0.1, warmup=1.0)
    torch.testing.assert_close(model.weights.W_dec_FD.norm(dim=1), torch.ones(F, dtype=torch.float64))


def test_nothing_active_is_no_error():
    model, x_BD = ReLU(F, D, l1_coefficient=1.0, **EXACT), batch()
    model.weights.b_enc_F.fill_(-1e6)
    stats = model.step(x_BD, learning_rate=0.1, warmup=1.0)
    assert stats.num_active == 0
    assert stats.squared_error == pytest.approx(x_BD.square().sum().item())
    assert not model.grads.W_enc_FD.any()
    assert not model.grads.W_dec_FD.any()
    batchtopk = BatchTopK(F, D, k=K, auxiliary_coefficient=0.0, dead_window=10, **EXACT)
    batchtopk.weights.b_enc_F.fill_(-1e6)
    assert batchtopk.step(x_BD, learning_rate=0.1, warmup=1.0).num_active == 0
    assert batchtopk.threshold() == 0


def header(model: Architecture, nonlinearity: Nonlinearity) -> SAEHeader:
    return SAEHeader("1-x-30", "x", nonlinearity, F, D, "tiny", 1, K if nonlinearity == "topk" else None)


def trained(kind: str) -> tuple[Architecture, SAE, float, Tensor]:
    options = {"k": K, "auxiliary_coefficient": 0.1, "dead_window": 50}
    nonlinearity: Nonlinearity
    model: Architecture
    if kind == "relu":
        model, nonlinearity = ReLU(F, D, l1_coefficient=0.5, **EXACT), "relu"
    elif kind == "topk":
        model, nonlinearity = TopK(F, D, **options, **EXACT), "topk"
    else:
        model, nonlinearity = BatchTopK(F, D, **options, **EXACT), "jumprelu"
    for seed in range(20):
        model.step(batch(seed), learning_rate=0.01, warmup=1.0)
    scale, mean_D = 0.037, 50 * batch(99)[0]
    return model, model.fold(header(model, nonlinearity), scale, mean_D), scale, mean_D


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
def test_a_folded_sae_on_raw_activations_is_the_trained_one(kind):
    model, sae, scale, mean_D = trained(kind)
    w, x_BD = model.weights, batch(7)
    raw_BD = (x_BD / scale + mean_D).float()
    pre_BF = pre_activations(w, x_BD)
    mask_BF = topk_mask(pre_BF) if kind == "topk" else pre_BF > model.threshold()
    f_BF = pre_BF * mask_BF
    norm_F = w.W_dec_FD.norm(dim=1)
    torch.testing.assert_close(sae.encode(raw_BD).double(), f_BF * norm_F / scale, rtol=1e-4, atol=1e-3)
    expected_BD = (f_BF @ w.W_dec_FD + w.b_dec_D) / scale + mean_D
    torch.testing.assert_close(sae.reconstruct(raw_BD).double(), expected_BD, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(sae.W_dec_FD.norm(dim=1), torch.ones(F))


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
def test_unfolding_is_the_inverse_of_folding(kind):
    model, sae, scale, mean_D = trained(kind)
    other, *_ = trained(kind)  # of which nothing stays
    for weight in other.weights:
        weight.fill_(7.0)
    other.unfold(sae, scale, mean_D)
    again = other.fold(sae.header, scale, mean_D)
    for name in ("W_enc_FD", "b_enc_F", "W_dec_FD", "b_dec_D", "threshold_F"):
        expected, found = getattr(sae, name), getattr(again, name)
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp_min(1), name
    assert torch.equal(other.low_W_enc_FD, other.weights.W_enc_FD.to(other.low))
    if kind == "relu":
        encoder_F, decoder_F = (weight.norm(dim=1) for weight in other.weights[::2])
        torch.testing.assert_close(encoder_F, decoder_F)
    else:
        for expected, found in zip(model.weights, other.weights, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert other.threshold() == pytest.approx(model.threshold(), rel=1e-5)


def test_batchtopk_threshold_keeps_k_features_per_token():
    generator = torch.Generator().manual_seed(0)
    model = BatchTopK(F, D, k=K, auxiliary_coefficient=0.0, dead_window=10**6, seed=0)
    for _ in range(100):
        model.step(torch.randn(512, D, generator=generator), learning_rate=0.0, warmup=1.0)
    sae = model.fold(header(model, "jumprelu"), 1.0, torch.zeros(D))
    x_BD = torch.randn(4000, D, generator=generator)
    assert len(sae.encode_sparse(x_BD).value_K) / 4000 == pytest.approx(K, rel=0.02)


def planted(num_tokens: int, num_active: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows that are sparse sums of 32 random directions in 16 dimensions, with mean squared norm D; the directions."""
    generator = torch.Generator().manual_seed(seed)
    directions_FD = torch.nn.functional.normalize(torch.randn(32, 16, generator=torch.Generator().manual_seed(0)))
    chosen_NF = torch.rand(num_tokens, 32, generator=generator).argsort(1) < num_active
    amount_NF = chosen_NF * (0.5 + torch.rand(num_tokens, 32, generator=generator))
    x_ND = amount_NF @ directions_FD
    return x_ND * (16 / x_ND.square().sum(1).mean()).sqrt(), directions_FD


@pytest.mark.parametrize("kind", ["relu", "topk", "batchtopk"])
def test_a_planted_dictionary_comes_back(kind):
    x_ND, directions_FD = planted(80_000, 2, seed=1)
    model: Architecture
    if kind == "relu":
        model = ReLU(64, 16, l1_coefficient=1.0, seed=3)
    else:
        family = TopK if kind == "topk" else BatchTopK
        model = family(64, 16, k=2, auxiliary_coefficient=1 / 32, dead_window=5000, seed=3)
    batches = x_ND.split(128)
    for step, x_BD in enumerate(batches):
        left = 1 - step / len(batches)
        model.step(x_BD, learning_rate=4e-3 * min(1, 5 * left), warmup=min(1, step / 50))
    found_FD = torch.nn.functional.normalize(model.weights.W_dec_FD)
    assert (directions_FD @ found_FD.t()).amax(1).mean() > 0.95


def test_dead_share_counts_the_silent():
    model = TopK(F, D, k=1, auxiliary_coefficient=0.0, dead_window=10, **EXACT)
    x_BD = batch(num_tokens=8)
    fired = set()
    for row in x_BD:
        model.step(row[None], learning_rate=0.0, warmup=1.0)
        fired.add(int(pre_activations(model.weights, row).argmax()))
    last_three = {int(pre_activations(model.weights, row).argmax()) for row in x_BD[-3:]}
    assert model.dead_share(10**9) == pytest.approx(1 - len(fired) / F)
    assert model.dead_share(3) == pytest.approx(1 - len(last_three) / F)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("floor", [0.0, 0.71])
def test_find_above_is_a_plain_comparison(dtype, floor):
    pre_BT = batch().to(dtype)
    pre_BT[0, :3] = torch.tensor([0.0, -0.0, floor])
    floor = float(torch.tensor(floor).to(dtype))
    expected = np.flatnonzero((pre_BT.double() > floor).numpy())
    assert find_above(pre_BT, floor).tolist() == expected.tolist()
    assert count_above_zero(pre_BT) == int((pre_BT > 0).sum())


def test_sparse_and_dense_tiles_agree():
    pre_BT = batch()
    dense, sparse = DenseTile(pre_BT.relu()), gather_pairs(pre_BT, find_above(pre_BT, 0.0), torch.float64)
    assert dense.num_active == sparse.num_active
    torch.testing.assert_close(dense.total_T, sparse.total_T)
    W_dec_TD = batch(5, num_tokens=D)
    torch.testing.assert_close(dense.decode(W_dec_TD), sparse.decode(W_dec_TD))
