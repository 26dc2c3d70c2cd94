import numpy as np
import pytest
import torch
from torch import Tensor

from data.arrow import read_arrow
from data.artifacts.features import NEIGHBOURS_FILE, neighbours_schema
from data.layout import StorePaths
from pipeline.geometry import nearest as decoders
from pipeline.geometry.nearest import unit
from pipeline.stages import neighbours
from tests.support.fake_run import DEAD, NEGLIGIBLE, fake_recipe
from tests.support.fakes import publish_fake_run

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
    directions: list[Tensor], k: int, left_out: set[tuple[int, int]] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and cosines [R, S, k]. left_out: SAE and index of features that may be nobody's neighbour."""
    notable = [
        np.array([(sae, index) not in (left_out or set()) for index in range(len(W_FD))])
        for sae, W_FD in enumerate(directions)
    ]
    batches = list(decoders.neighbour_batches(directions, notable, k, neighbours_schema(len(directions), k)))
    rows = [row for batch in batches for row in batch.to_pylist()]
    shape = (len(rows), len(directions), k)
    return tuple(np.array([row[n] for row in rows]).reshape(shape) for n in ("indices", "cosines"))  # type: ignore[return-value]


@pytest.mark.parametrize("left_out", [set(), {(0, 3), (1, 0), (1, 7), (2, 24)}])
def test_neighbours_agree_with_a_naive_search(tile_elements: int, left_out: set[tuple[int, int]]) -> None:
    directions = make_directions()
    indices, cosines = find(directions, K, left_out)
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


def test_the_stage_writes_one_row_for_each_feature(store: StorePaths) -> None:
    publish_fake_run(store)
    paths = store.run("fake")
    before = read_arrow(paths.stage("neighbours") / NEIGHBOURS_FILE).to_pylist()
    manifest = neighbours.run(fake_recipe(), paths)
    table = read_arrow(paths.stage("neighbours") / NEIGHBOURS_FILE)
    assert manifest.counts == {"num_features": 384, "num_saes": 3, "k": 20}
    assert table.schema == neighbours_schema(3, 20)
    np.testing.assert_allclose(table["cosines"].to_pylist(), [row["cosines"] for row in before], atol=1e-5)


def test_no_list_holds_a_dead_or_a_negligible_feature(store: StorePaths) -> None:
    publish_fake_run(store)
    paths = store.run("fake")
    neighbours.run(fake_recipe(), paths)
    listed = np.array(read_arrow(paths.stage("neighbours") / NEIGHBOURS_FILE)["indices"].to_pylist()).reshape(
        384, 3, 20
    )
    assert not (listed == DEAD).any()
    assert not (listed[:, :2] == NEGLIGIBLE).any(), "it is negligible in both ReLU SAEs"
    assert (listed >= 0).all(), "others take their places"
