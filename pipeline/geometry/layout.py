"""Places of decoder directions on the map: their exact neighbour graph, laid out by UMAP."""

import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.geometry.nearest import TILE_ELEMENTS, cosine_tiles, nearest, unit
from pipeline.progress import log, track
from pipeline.recipe import ProjectConfig

FEWEST_POINTS = 5
"""Fewer than these are laid out by their main components alone."""
JITTER = 1e-3
"""Noise on the start, in its standard deviations: points that start at one place must be able to part."""
BAR = "{desc}      {bar:28} {percentage:3.0f}% {n_fmt}/{total_fmt} epochs {remaining} left"


class Graph(NamedTuple):
    """Each point's nearest by 1 - cosine, itself first."""

    indices_PK: npt.NDArray[np.int32]
    distances_PK: npt.NDArray[np.float32]


Masks = Sequence[npt.NDArray[np.bool_]]


def centred_directions(directions: Sequence[Tensor], live: Masks, chosen: Masks) -> Tensor:
    """Decoder directions of the chosen features of all SAEs together [P, D], centred for each SAE on its live ones."""
    triples = zip(directions, live, chosen, strict=True)
    return torch.cat([centred(W_FD, *(torch.from_numpy(mask_F) for mask_F in masks)) for W_FD, *masks in triples])


def centred(W_FD: Tensor, live_F: Tensor, chosen_F: Tensor) -> Tensor:
    """Directions of some features of one SAE, the mean of its live ones taken off, norm 1."""
    live_F, chosen_F = live_F.to(W_FD.device), chosen_F.to(W_FD.device)
    mean_D = W_FD[live_F].mean(0) if live_F.any() else torch.zeros_like(W_FD[0])
    return unit(W_FD[chosen_F] - mean_D)


def lay_out(x_PD: Tensor, config: ProjectConfig, seed: int) -> npt.NDArray[np.float32]:
    """Coordinates [P, 2] of points given by norm-1 rows."""
    start_P2 = main_plane(x_PD, seed)
    num_points = len(x_PD)
    if num_points < FEWEST_POINTS:
        log(f"project: {num_points} features are too few for UMAP; they are laid out by their main components")
        return start_P2
    num_neighbours = min(config.num_neighbours, num_points - 1)
    if num_neighbours < config.num_neighbours:
        log(f"project: {num_points} features have {num_neighbours} neighbours each, not {config.num_neighbours}")
    return umap_layout(neighbour_graph(x_PD, num_neighbours), start_P2, config, seed)


def put_beside(x_MD: Tensor, x_PD: Tensor, xy_P2: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """Places [M, 2] for further points on a map of others: each beside that with the highest cosine.

    Beside is as far as points of the map are apart on average, in a seeded random direction. On an empty map all are
    in the middle.
    """
    if len(x_PD) == 0:
        return np.zeros((len(x_MD), 2), np.float32)
    step = max(1, TILE_ELEMENTS // len(x_PD))
    nearest_M = [(x_MD[start : start + step] @ x_PD.T).argmax(1).cpu() for start in range(0, len(x_MD), step)]
    place_M = torch.cat(nearest_M).numpy() if nearest_M else np.zeros(0, np.int64)
    apart = np.ptp(xy_P2, axis=0) / np.sqrt(len(xy_P2))
    away_M2 = np.random.default_rng(seed).standard_normal((len(x_MD), 2)) * apart
    return np.asarray(xy_P2[place_M] + away_M2, np.float32)


def main_plane(x_PD: Tensor, seed: int) -> npt.NDArray[np.float32]:
    """The two main components of the points [P, 2], standard deviation 1, with a little seeded noise.

    The sign of a component is chosen so that its largest weight is positive.
    """
    if len(x_PD) == 0:
        return np.zeros((0, 2), np.float32)
    centred_PD = (x_PD - x_PD.mean(0)).cpu().double()
    components_D2 = torch.linalg.eigh(centred_PD.T @ centred_PD).eigenvectors[:, -2:].flip(1)
    largest_2 = components_D2.gather(0, components_D2.abs().argmax(0, keepdim=True))
    xy_P2 = (centred_PD @ (components_D2 * largest_2.sign())).numpy()
    xy_P2 /= np.maximum(xy_P2.std(0), np.finfo(np.float32).tiny)
    noise_P2 = np.random.default_rng(seed).standard_normal(xy_P2.shape)
    return np.asarray(xy_P2 + JITTER * noise_P2, np.float32)


def neighbour_graph(x_PD: Tensor, num_neighbours: int) -> Graph:
    """The exact graph that UMAP starts from: each point itself and its `num_neighbours` - 1 nearest."""
    parts = []
    with track("map graph", len(x_PD), "features") as progress:
        for rows, cosines_TP in cosine_tiles(x_PD):
            parts.append(nearest(cosines_TP, num_neighbours - 1))
            progress.advance(rows.stop - rows.start)
    indices, cosines = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    self_P1 = np.arange(len(x_PD), dtype=np.int32)[:, None]
    distances = np.concatenate([np.zeros_like(self_P1, dtype=np.float32), 1 - cosines], axis=1)
    return Graph(np.concatenate([self_P1, indices], axis=1), distances)


def umap_layout(
    graph: Graph, start_P2: npt.NDArray[np.float32], config: ProjectConfig, seed: int
) -> npt.NDArray[np.float32]:
    """UMAP of a given graph from given places. The vectors themselves are not needed: only the graph is read."""
    num_points, num_neighbours = graph.indices_PK.shape
    log(f"project: UMAP of {num_points:,} features, {config.num_epochs} epochs (compiled the first time: some seconds)")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)  # for a part that is not used
        # The graph comes without a search index, which only placing new points would need.
        warnings.filterwarnings("ignore", r"precomputed_knn\[2\]", UserWarning)
        umap = _import_umap()
        model = umap.UMAP(
            n_neighbors=num_neighbours,
            min_dist=config.min_dist,
            n_epochs=config.num_epochs,
            init=start_P2,
            random_state=seed,
            n_jobs=1,
            precomputed_knn=graph,
            tqdm_kwds={"desc": "project", "bar_format": BAR, "disable": not sys.stderr.isatty()},
        )
        return np.asarray(model.fit_transform(np.zeros((num_points, 1), np.float32)), np.float32)


def _import_umap() -> Any:
    """The module; what it compiles at every start otherwise is kept from one process to the next, where files can be.

    Imported here alone, since that takes seconds.
    """
    import umap
    from umap import layouts, umap_

    with suppress(RuntimeError, AttributeError):  # no folder may be written, or another version has other names
        umap_.smooth_knn_dist.enable_caching()
        umap_.compute_membership_strengths.enable_caching()
        layouts._nb_optimize_layout_euclidean_single_epoch.enable_caching()
    return umap
