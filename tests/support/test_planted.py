"""Planted features are as asked: their frequencies, what goes together, what belongs to what."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.activations.rows import as_tensor
from pipeline.models.sae import SAE, SAEHeader
from pipeline.training.topk import TopK
from pipeline.training.trainer import Trainer, Training, Untrained
from tests.support.planted import Planted, PlantedConfig
from tests.support.recovery import best_cosines, detector_f1, recover

ROWS = 40_000


def features_of(planted: Planted, rows: int = ROWS) -> Tensor:
    return torch.cat([features_NF for features_NF, _ in planted.blocks(rows, 7)])


def correlations(active_NF: Tensor) -> Tensor:
    return torch.corrcoef(active_NF.T.float())


@pytest.mark.parametrize("zipf", [0.5, 1.0])
def test_frequencies_fall_by_zipfs_law_whatever_a_feature_belongs_to(zipf: float) -> None:
    config = PlantedConfig(60, 8, zipf=zipf, num_families=3, children=4, group_size=5, rho=0.6)
    planted = Planted(config)
    share_F = (features_of(planted) > 0).double().mean(0)
    expected_F = 0.5 / torch.arange(1, 61, dtype=torch.float64) ** zipf
    assert torch.allclose(planted.frequency_F, expected_F)
    # Five standard errors.
    assert ((share_F - expected_F).abs() < 5 * (expected_F / ROWS).sqrt()).all()
    slope = torch.linalg.lstsq(
        torch.stack([torch.ones(60), torch.arange(1, 61).log()], 1).double(), share_F.log()[:, None]
    ).solution[1, 0]
    assert float(slope) == pytest.approx(-zipf, abs=0.05)


def test_a_child_is_active_only_with_its_parent_and_with_no_other_more_than_by_chance() -> None:
    planted = Planted(PlantedConfig(60, 8, num_families=3, children=4, seed=2))
    active_NF = features_of(planted) > 0
    children = torch.nonzero(planted.parent_F >= 0).flatten().tolist()
    assert torch.bincount(planted.parent_F[children]).tolist() == [4, 4, 4]
    for child in children:
        parent = int(planted.parent_F[child])
        assert parent < 3 <= child
        assert not (active_NF[:, child] & ~active_NF[:, parent]).any()
        other = (parent + 1) % 3
        with_other = float(active_NF[active_NF[:, child], other].double().mean())
        assert with_other == pytest.approx(float(planted.frequency_F[other]), abs=0.1)


def test_features_of_a_group_go_together_and_others_do_not() -> None:
    planted = Planted(PlantedConfig(40, 8, zipf=0.2, num_families=2, children=3, group_size=4, rho=0.7))
    r_FF = correlations(features_of(planted) > 0)
    same_FF = (planted.group_F[:, None] == planted.group_F) & (planted.group_F >= 0)
    same_FF.fill_diagonal_(False)
    apart_FF = (planted.group_F[:, None] != planted.group_F) & (planted.group_F >= 0) & (planted.group_F[:, None] >= 0)
    assert float(r_FF[same_FF].min()) > 0.2
    assert float(r_FF[apart_FF].abs().max()) < 0.03
    assert (planted.group_F[planted.parent_F >= 0] == -1).all()
    assert (planted.group_F[:2] == -1).all()


def test_rows_are_the_sums_of_their_features_and_noise() -> None:
    clean, noisy = (Planted(PlantedConfig(30, 16, noise=noise)) for noise in (0.0, 0.5))
    features_NF, x_ND = next(clean.blocks(2000, 3))
    assert torch.allclose(x_ND, features_NF @ clean.directions_FD)
    assert torch.allclose(clean.directions_FD.norm(dim=1), torch.ones(30))
    assert float(features_NF[features_NF > 0].min()) >= 0.5
    assert float(features_NF[features_NF > 0].mean()) == pytest.approx(1.0, abs=0.03)
    _, noisy_ND = next(noisy.blocks(2000, 3))
    assert float((noisy_ND - x_ND).square().sum(1).mean().sqrt()) == pytest.approx(0.5, rel=0.03)


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    planted = Planted(PlantedConfig(30, 16, noise=0.1))
    (_, first), (_, again), (_, other) = (next(planted.blocks(100, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).all(1).any()


@pytest.mark.parametrize("changes", [{"most_frequent": 1.0}, {"rho": 1.0}, {"num_families": 9, "children": 6}])
def test_what_cannot_be_planted_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)) if "children" not in changes else "families"):
        PlantedConfig(**{"num_features": 60, "width": 8, **changes})  # type: ignore[arg-type]


def test_a_harvest_holds_the_rows_and_their_moments(tmp_path: Path) -> None:
    planted = Planted(PlantedConfig(30, 16, noise=0.1))
    reader, normalisation = planted.harvest(tmp_path / "rows", 9000, seed=3)
    stored_ND = as_tensor(np.array(reader.shard(0).values_ND))
    x_ND = torch.cat([x_ND for _, x_ND in planted.blocks(9000, 3)])
    assert torch.equal(stored_ND, x_ND.bfloat16())
    normalised_ND = normalisation.apply(x_ND)
    assert float(normalised_ND.square().sum(1).mean()) == pytest.approx(16, rel=1e-4)


# ---- What was found


def perfect_sae(planted: Planted, num_features: int) -> SAE:
    """One whose features are the first of those planted, read exactly where directions are orthogonal."""
    directions_FD = planted.directions_FD[:num_features]
    zeros_F = torch.zeros(num_features)
    header = SAEHeader("perfect", "relu", "jumprelu", num_features, directions_FD.shape[1], "none", 0)
    return SAE(header, directions_FD, zeros_F, directions_FD, torch.zeros(directions_FD.shape[1]), zeros_F + 0.25)


def orthogonal(num_features: int) -> Planted:
    planted = Planted(PlantedConfig(num_features, num_features))
    planted.directions_FD = torch.eye(num_features)
    return planted


def test_an_sae_with_half_of_the_planted_features_finds_these() -> None:
    planted = orthogonal(12)
    sae = perfect_sae(planted, 6)
    found = recover(planted.directions_FD, sae, planted.blocks(4000, 1))
    assert found.cosine_P.tolist() == [1.0] * 6 + [0.0] * 6
    assert found.found_P.tolist() == [True] * 6 + [False] * 6
    assert found.f1_P[:6].tolist() == [1.0] * 6
    assert float(found.f1_P[6:].max()) < 0.5


def test_f1_is_that_of_counting() -> None:
    planted = orthogonal(5)
    sae = perfect_sae(planted, 5)
    sae.W_enc_FD = torch.eye(5)[[1, 0, 2, 3, 4]] + 0.2
    features_NP, x_ND = next(planted.blocks(500, 2))
    f1_PF = detector_f1(sae, planted.blocks(500, 2))
    fires_NF = sae.encode(x_ND) > 0
    for p in range(5):
        for f in range(5):
            there_N, fires_N = features_NP[:, p] > 0, fires_NF[:, f]
            right, wrong = int((there_N & fires_N).sum()), int((there_N ^ fires_N).sum())
            assert float(f1_PF[p, f]) == pytest.approx(2 * right / (2 * right + wrong))


def test_the_nearest_direction_is_found_whatever_its_place() -> None:
    planted_PD = torch.eye(3)
    decoder_FD = torch.tensor([[0.0, 0.0, 1.0], [0.6, 0.8, 0.0]])
    assert best_cosines(planted_PD, decoder_FD).tolist() == pytest.approx([0.6, 0.8, 1.0])


def test_the_trainer_finds_planted_features(tmp_path: Path) -> None:
    planted = Planted(PlantedConfig(32, 24, most_frequent=0.3, zipf=0.4, noise=0.02, seed=4))
    reader, normalisation = planted.harvest(tmp_path / "rows", 2**16, seed=1)

    def make(width: int, *, dead_window: int, seed: int, device: str) -> TopK:
        return TopK(48, width, k=4, auxiliary_coefficient=1 / 32, dead_window=dead_window, seed=seed, device=device)

    training = Training(128, 1, 0.05, 0.2, float("inf"), 0, "cpu")
    trainer = Trainer(training, {"sae": Untrained(make, 3e-3)}, reader, normalisation, tmp_path)
    untrained_FD = trainer.trainees["sae"].model.weights.W_dec_FD.clone()
    trainer.run(lambda _: None)
    header = SAEHeader("sae", "topk", "topk", 48, 24, "none", 0, 4)
    sae = trainer.trainees["sae"].model.fold(header, normalisation.scale, normalisation.mean_D)
    found = recover(planted.directions_FD, sae, planted.blocks(4000, 9))
    assert float(best_cosines(planted.directions_FD, untrained_FD).mean()) < 0.6
    assert float(found.cosine_P.mean()) > 0.9
    assert float(found.f1_P.mean()) > 0.6
