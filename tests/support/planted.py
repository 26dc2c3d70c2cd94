"""Synthetic activations whose features are known: sparse, with Zipf frequencies, groups that go together, a hierarchy.

Feature i, in order of frequency, is active on a share p_i = p_0 / (i + 1)^zipf of the rows, exactly, whatever else it
belongs to. A child is active only where its parent is. Features of a group have latent normals with correlation `rho`,
and are active where these are high (a Gaussian copula). A row is the sum of its active features' directions, each
times 0.5 plus an exponential of mean 0.5, and Gaussian noise.

Shapes: N rows, F planted features, G groups, D width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.artifacts.shards import ROW, ShardReader, ShardWriter
from pipeline.training.trainee import Normalisation

KEY = "planted"
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class PlantedConfig:
    """What is planted."""

    num_features: int
    width: int
    most_frequent: float = 0.5
    """p_0, the share of rows on which feature 0 is active."""
    zipf: float = 1.0
    """Exponent of the frequencies."""
    num_families: int = 0
    """Parents: the most frequent features."""
    children: int = 4
    """Of each parent; a child is far rarer than its parent."""
    group_size: int = 1
    """Features of a group, neighbours in frequency; those of families belong to none."""
    rho: float = 0.0
    """Correlation of the latent normals of a group."""
    noise: float = 0.0
    """Root mean square norm of the noise."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.most_frequent < 1:
            raise ValueError(f"most_frequent is {self.most_frequent}: a share of rows lies between 0 and 1")
        if not 0 <= self.rho < 1:
            raise ValueError(f"rho is {self.rho}: a correlation within groups lies between 0 and 1")
        if self.num_families * (1 + self.children) > self.num_features:
            raise ValueError(f"{self.num_families} families of {1 + self.children} need more than {self.num_features}")


class Planted:
    """Known features, and activations made of them."""

    def __init__(self, config: PlantedConfig) -> None:
        self.config = config
        generator = torch.Generator().manual_seed(config.seed)
        directions_FD = torch.randn(config.num_features, config.width, generator=generator)
        self.directions_FD = directions_FD / directions_FD.norm(dim=1, keepdim=True)
        rank_F = torch.arange(1, config.num_features + 1, dtype=torch.float64)
        self.frequency_F = config.most_frequent * rank_F**-config.zipf
        self.parent_F = self._parents(generator)
        """Number of each feature's parent; -1 for none."""
        self.group_F = self._groups()
        """Number of each feature's group; -1 for none."""

    def features(self, rows: int, seed: int) -> Tensor:
        """Activations of the planted features on some rows [N, F], float32, 0 where they are inactive."""
        generator = torch.Generator().manual_seed(seed)
        shape = (rows, self.config.num_features)
        active_NF = self._latents(shape, generator) > self._thresholds_F
        for child in torch.nonzero(self.parent_F >= 0).flatten().tolist():
            active_NF[:, child] &= active_NF[:, self.parent_F[child]]
        return active_NF * (0.5 + torch.empty(shape).exponential_(2.0, generator=generator))

    def rows(self, features_NF: Tensor, seed: int) -> Tensor:
        """The activations [N, D] of rows whose features are given."""
        generator = torch.Generator().manual_seed(seed + 1)
        noise_ND = torch.randn(len(features_NF), self.config.width, generator=generator)
        return features_NF @ self.directions_FD + noise_ND * (self.config.noise / self.config.width**0.5)

    def blocks(self, rows: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Features [N, F] and activations [N, D] of all rows, some at a time; no row repeats with another seed."""
        for block, start in enumerate(range(0, rows, ROWS_AT_ONCE)):
            block_seed = int(np.random.SeedSequence([self.config.seed, seed, block]).generate_state(1)[0])
            features_NF = self.features(min(ROWS_AT_ONCE, rows - start), block_seed)
            yield features_NF, self.rows(features_NF, block_seed)

    def harvest(self, folder: Path, rows: int, seed: int) -> tuple[ShardReader, Normalisation]:
        """Shards of bfloat16 rows in a folder, as a harvest leaves them, and their moments."""
        folder.mkdir(parents=True)
        width = self.config.width
        writer = ShardWriter(folder, key=KEY, num_shards=1, width=width, storage="bfloat16", seed=seed)
        sum_D, sum_of_squares = torch.zeros(width, dtype=torch.float64), 0.0
        for block, (_, x_ND) in enumerate(self.blocks(rows, seed)):
            index_N = np.zeros(len(x_ND), ROW)
            index_N["position"] = np.arange(len(x_ND)) + block * ROWS_AT_ONCE
            writer.append(x_ND.bfloat16().view(torch.int16).numpy().view(np.uint16), index_N, block)
            sum_D += x_ND.double().sum(0)
            sum_of_squares += float(x_ND.double().square().sum())
        counts = tuple(writer.flush())
        writer.close()
        mean_D = sum_D / rows
        rms = (sum_of_squares / rows - float(mean_D @ mean_D)) ** 0.5
        return ShardReader(folder, KEY, width, "bfloat16", counts), Normalisation(mean_D, rms)

    def _parents(self, generator: torch.Generator) -> Tensor:
        config = self.config
        parent_F = torch.full((config.num_features,), -1)
        others = config.num_families + torch.randperm(config.num_features - config.num_families, generator=generator)
        for parent in range(config.num_families):
            parent_F[others[parent * config.children : (parent + 1) * config.children]] = parent
        return parent_F

    def _groups(self) -> Tensor:
        group_F = torch.full((self.config.num_features,), -1)
        alone = torch.nonzero(self.parent_F < 0).flatten()[self.config.num_families :]
        num_groups = len(alone) // self.config.group_size if self.config.group_size > 1 else 0
        members = alone[: num_groups * self.config.group_size]
        group_F[members] = torch.arange(len(members)) // self.config.group_size
        return group_F

    @cached_property
    def _thresholds_F(self) -> Tensor:
        """Latents above them are active: given the parent, where there is one."""
        given_F = torch.where(self.parent_F >= 0, self.frequency_F[self.parent_F.clamp_min(0)], 1.0)
        return torch.special.ndtri(1 - self.frequency_F / given_F).float()

    def _latents(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Standard normals [N, F], those of a group correlated."""
        own_NF = torch.randn(shape, generator=generator)
        if self.config.rho == 0 or bool((self.group_F < 0).all()):
            return own_NF
        num_groups = int(self.group_F.max()) + 1
        shared_NG = torch.randn(shape[0], num_groups, generator=generator)
        weight_F = torch.where(self.group_F >= 0, self.config.rho, 0.0)
        shared_NF = shared_NG[:, self.group_F.clamp_min(0)]
        return weight_F.sqrt() * shared_NF + (1 - weight_F).sqrt() * own_NF
