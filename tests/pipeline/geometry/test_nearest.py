import numpy as np
import pytest
import torch
from torch import Tensor

from data.arrow import read_arrow
from data.artifacts.features import NEIGHBOURS_FILE, FeatureKinds, neighbours_schema
from data.layout import StorePaths
from pipeline.geometry import nearest as decoders
from pipeline.geometry.nearest import unit
from pipeline.stages import neighbours
from tests.support.fake_run import DEAD, NEGLIGIBLE, RARE, fake_recipe

Features = frozenset[tuple[int, int]]
SIZES = [7, 40, 25]
WIDTH, K = 12, 10


@pytest.fixture(params=[1, 37, 10_000])
def tile_elements(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """From one row in a tile to all rows in one."""
    monkeypatch.setattr(decoders, "TILE_ELEMENTS", request.param)
    return int(request.param)


def make_directions() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [unit(torch.randn(size, WIDTH, generator=generator)) for size in SIZES]


def find(
    directions: list[Tensor],
    k: int,
    dead: Features = frozenset(),
    rare: Features = frozenset(),
    kind: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and cosines [R, S, k], of live neighbours or of minor ones. dead, rare: SAE and index of features."""
    sizes = [len(W_FD) for W_FD in directions]
    masks = [[np.array([(s, i) in some for i in range(n)]) for some in (dead, rare)] for s, n in enumerate(sizes)]
    kinds = [FeatureKinds(dead_F, rare_F, np.zeros_like(dead_F)) for dead_F, rare_F in masks]
    batches = list(decoders.neighbour_batches(directions, kinds, k, neighbours_schema(len(directions), k)))
    rows = [row for batch in batches for row in batch.to_pylist()]
    shape = (len(rows), len(directions), -1)
    indices, cosines = (np.array([row[kind + n] for row in rows]).reshape(shape) for n in ("indices", "cosines"))
    return indices, cosines


DEAD_ONES, RARE_ONES = frozenset({(0, 3), (1, 0)}), frozenset({(0, 4), (1, 7), (1, 8), (2, 24)})
ALL = frozenset((sae, index) for sae, size in enumerate(SIZES) for index in range(size))


@pytest.mark.parametrize(
    ("dead", "rare", "kind", "left_out"),
    [
        (frozenset(), frozenset(), "", frozenset()),
        (DEAD_ONES, RARE_ONES, "", DEAD_ONES | RARE_ONES),
        (DEAD_ONES, RARE_ONES, "minor_", ALL - RARE_ONES),
    ],
)
def test_neighbours_agree_with_a_naive_search(
    tile_elements: int, dead: Features, rare: Features, kind: str, left_out: Features
) -> None:
    directions = make_directions()
    indices, cosines = find(directions, K, dead, rare, kind)
    row = 0
    for own, W_FD in enumerate(directions):
        for index, w_D in enumerate(W_FD):
            for other, V_FD in enumerate(directions):
                exact_F = (V_FD.double() @ w_D.double()).numpy()
                order = [
                    int(i) for i in np.argsort(-exact_F) if (own, index) != (other, i) and (other, i) not in left_out
                ][:K]
                expected = order + [-1] * (K - len(order))
                assert indices[row, other].tolist() == expected
                np.testing.assert_allclose(cosines[row, other, : len(order)], exact_F[order], atol=1e-6)
                assert (cosines[row, other, len(order) :] == 0).all()
            row += 1


def test_equal_neighbours_come_by_index(tile_elements: int) -> None:
    same = unit(torch.ones(5, 4))
    indices, cosines = find([same, same[:2]], 4)
    assert indices[2].tolist() == [[0, 1, 3, 4], [0, 1, -1, -1]]
    np.testing.assert_allclose(cosines[2], [[1, 1, 1, 1], [1, 1, 0, 0]], atol=1e-6)
    assert cosines.max() <= 1


def test_two_runs_are_the_same_to_the_bit() -> None:
    first, second = find(make_directions(), K), find(make_directions(), K)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_the_stage_writes_one_row_for_each_feature(copied_store: StorePaths) -> None:
    paths = copied_store.run("fake")
    before = read_arrow(paths.stage("neighbours") / NEIGHBOURS_FILE).to_pylist()
    manifest = neighbours.run(fake_recipe(), paths)
    table = read_arrow(paths.stage("neighbours") / NEIGHBOURS_FILE)
    assert manifest.counts == {"num_features": 384, "num_saes": 3, "k": 20}
    assert table.schema == neighbours_schema(3, 20)
    np.testing.assert_allclose(table["cosines"].to_pylist(), [row["cosines"] for row in before], atol=1e-5)


def test_lists_hold_live_features_and_apart_from_them_minor_ones(copied_store: StorePaths) -> None:
    paths = copied_store.run("fake")
    neighbours.run(fake_recipe(), paths)
    table = read_arrow(paths.stage("neighbours") / NEIGHBOURS_FILE)
    listed, minor = (np.array(table[n].to_pylist()).reshape(384, 3, 20) for n in ("indices", "minor_indices"))
    assert not np.isin(listed, [DEAD, RARE]).any()
    assert set(np.unique(minor[:, :2])) == {-1, RARE, NEGLIGIBLE}
    assert set(np.unique(minor[:, 2])) == {-1, RARE}
    assert not (listed[:, :2] == NEGLIGIBLE).any(), "it is negligible in both ReLU SAEs"
    assert (listed >= 0).all(), "others take their places"
