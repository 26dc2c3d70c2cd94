from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from data.arrow import read_arrow
from data.artifacts.features import MAP_FILE
from data.layout import StorePaths
from pipeline.geometry.layout import centred, lay_out, main_plane, neighbour_graph, put_beside
from pipeline.geometry.nearest import kinds_of, unit
from pipeline.recipe import ProjectConfig
from pipeline.stages import project
from tests.support.fake_run import fake_recipe

CLUSTERS, PER_CLUSTER, WIDTH = 4, 15, 16
CONFIG = ProjectConfig(num_neighbours=5, num_epochs=20)


def make_points(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(WIDTH)[:CLUSTERS].repeat_interleave(PER_CLUSTER, 0)
    return unit(centres + 0.05 * torch.randn(len(centres), WIDTH, generator=generator))


def test_planted_clusters_lie_apart() -> None:
    places = lay_out(make_points(), CONFIG, seed=0).reshape(CLUSTERS, PER_CLUSTER, 2)
    middles = places.mean(1)
    spread = np.linalg.norm(places - middles[:, None], axis=2).max()
    gaps = np.linalg.norm(middles[:, None] - middles[None], axis=2)[~np.eye(CLUSTERS, dtype=bool)]
    assert gaps.min() > spread


def test_the_same_seed_gives_the_same_map() -> None:
    first, second = (lay_out(make_points(), CONFIG, seed=3) for _ in range(2))
    assert first.dtype == np.float32
    assert (first == second).all()
    assert (lay_out(make_points(), CONFIG, seed=4) != first).any()


def test_what_umap_compiles_is_kept_for_the_next_process() -> None:
    lay_out(make_points(), CONFIG, seed=0)
    from umap import umap_

    assert list(Path(umap_.smooth_knn_dist.stats.cache_path).glob("umap_.smooth_knn_dist*.nbi"))


def test_a_machine_without_a_folder_to_keep_it_has_the_same_map(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = lay_out(make_points(), CONFIG, seed=0)

    def refuse(self: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.enable_caching", refuse)
    assert (lay_out(make_points(), CONFIG, seed=0) == kept).all()


@pytest.mark.parametrize("num_points", [0, 1, 2, 3, 4, 5, 6, 20])
def test_few_points_have_places_too(num_points: int) -> None:
    places = lay_out(make_points()[:num_points], ProjectConfig(num_epochs=5), seed=0)
    assert places.shape == (num_points, 2)
    assert np.isfinite(places).all()


def test_equal_points_part() -> None:
    places = lay_out(torch.ones(12, 4) / 2, CONFIG, seed=0)
    assert np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == 12


def test_the_graph_is_exact_and_begins_with_the_point_itself() -> None:
    x_PD = make_points()
    graph = neighbour_graph(x_PD, 6)
    exact_PP = (1 - x_PD.double() @ x_PD.double().T).numpy()
    np.fill_diagonal(exact_PP, -1)
    assert (graph.indices_PK == np.argsort(exact_PP, axis=1)[:, :6]).all()
    np.fill_diagonal(exact_PP, 0)
    np.testing.assert_allclose(
        graph.distances_PK, np.take_along_axis(exact_PP, graph.indices_PK.astype(int), 1), atol=1e-6
    )
    assert (graph.distances_PK[:, 0] == 0).all()


def test_centring_takes_off_what_live_features_share() -> None:
    shared = torch.zeros(WIDTH)
    shared[0] = 3.0
    live_F = torch.ones(60, dtype=torch.bool)
    live_F[-1] = False
    W_FD = unit(make_points(1)[:, torch.randperm(WIDTH)] + shared)
    x_PD = centred(W_FD, live_F, live_F)
    torch.testing.assert_close(centred(W_FD, live_F, ~live_F), unit(W_FD[-1:] - W_FD[:-1].mean(0)))
    assert x_PD.shape == (59, WIDTH)
    assert x_PD[:, 0].abs().max() < 0.5
    torch.testing.assert_close(x_PD.norm(dim=1), torch.ones(59))


def test_the_main_plane_is_that_of_the_largest_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    x_PD = torch.randn(500, 6, generator=generator) * torch.tensor([1.0, 9.0, 1.0, 1.0, 4.0, 1.0])
    xy_P2 = main_plane(x_PD, seed=0)
    correlations = np.corrcoef(np.concatenate([xy_P2, x_PD[:, [1, 4]].numpy()], 1).T)[:2, 2:]
    np.testing.assert_allclose(correlations, np.eye(2), atol=0.1)


def test_further_points_are_put_beside_the_nearest_and_move_none() -> None:
    x_PD = make_points()
    xy_P2 = np.random.default_rng(1).normal(size=(len(x_PD), 2)).astype(np.float32) * 100
    some = [3, 40, 7]
    xy_M2 = put_beside(x_PD[some], x_PD, xy_P2, seed=0)
    apart = np.ptp(xy_P2, axis=0) / np.sqrt(len(xy_P2))
    assert (np.abs(xy_M2 - xy_P2[some]) < 5 * apart).all()
    assert (xy_M2 == put_beside(x_PD[some], x_PD, xy_P2, seed=0)).all()
    assert put_beside(x_PD[:0], x_PD, xy_P2, seed=0).shape == (0, 2)
    assert put_beside(x_PD, x_PD[:0], xy_P2[:0], seed=0).shape == (len(x_PD), 2)


def test_the_stage_maps_all_but_dead_features(copied_store: StorePaths) -> None:
    paths, recipe = copied_store.run("fake"), fake_recipe(project={"num_epochs": 5})
    manifest = project.run(recipe, paths)
    points: pa.Table = read_arrow(paths.stage("project") / MAP_FILE)
    kinds = kinds_of(paths.stage("examples"), recipe.sae_names, recipe.examples.rare_tokens)
    live, minor = (np.flatnonzero(np.concatenate(m)) for m in zip(*((k.live_F, k.minor_F) for k in kinds), strict=True))
    assert points["row"].to_pylist() == [*live, *minor]
    assert manifest.counts == {"num_points": 376, "num_minor": 5, "num_left_out": 3}
