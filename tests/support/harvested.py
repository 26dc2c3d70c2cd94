"""A harvest of planted rows, for whatever trains on activations."""

import numpy as np
import torch

from data.artifacts.shards import ROW, ShardReader, ShardWriter
from data.layout import RunPaths
from data.manifests import load_manifest
from pipeline.activations.residuals import MOMENTS_FILE
from pipeline.training.trainee import Normalisation
from tests.support.fakes import put_manifest

NUM_SHARDS = 4


def planted_rows(num_rows: int, width: int, num_directions: int, seed: int) -> torch.Tensor:
    """Sparse sums of random directions, the first the most frequent: bfloat16 [N, D]. Other seeds, other rows."""
    generator = torch.Generator().manual_seed(seed)
    directions_ND = torch.randn(num_directions, width, generator=torch.Generator().manual_seed(1000))
    often_N = 2.0 / (2 + torch.arange(num_directions))
    active = torch.rand(num_rows, num_directions, generator=generator) < often_N
    strength = 1 + torch.rand(num_rows, num_directions, generator=generator)
    return ((active * strength) @ directions_ND + 0.3 * torch.randn(num_rows, width, generator=generator)).bfloat16()


def put_harvest(paths: RunPaths, rows_ND: torch.Tensor) -> ShardReader:
    """Write the artifact of stage `harvest`, its rows in four shards."""
    folder, width = paths.stage("harvest"), rows_ND.shape[1]
    folder.mkdir(parents=True)
    exact_ND = rows_ND.double()
    mean_D = exact_ND.mean(0)
    rms = (exact_ND - mean_D).square().sum(1).mean().sqrt()
    np.savez(folder / MOMENTS_FILE, mean_D=mean_D.numpy(), rms=rms.numpy())
    counts = {"width": width, "storage": "bfloat16", "rows_per_shard": [0] * NUM_SHARDS}
    put_manifest(paths, "harvest", counts)
    key = load_manifest(folder).key
    writer = ShardWriter(folder, key=key, num_shards=NUM_SHARDS, width=width, storage="bfloat16", seed=0)
    index_N = np.zeros(len(rows_ND), ROW)
    index_N["position"] = np.arange(len(rows_ND))
    writer.append(rows_ND.view(torch.int16).numpy().view(np.uint16), index_N, 0)
    counts["rows_per_shard"] = writer.flush()
    writer.close()
    put_manifest(paths, "harvest", counts)
    return reader_of(paths)


def reader_of(paths: RunPaths) -> ShardReader:
    """Of a harvest's shards."""
    manifest = load_manifest(paths.stage("harvest"))
    counts = manifest.counts
    return ShardReader(
        paths.stage("harvest"), manifest.key, counts["width"], counts["storage"], tuple(counts["rows_per_shard"])
    )


def normalisation_of(paths: RunPaths) -> Normalisation:
    """Of a harvest's rows."""
    moments = np.load(paths.stage("harvest") / MOMENTS_FILE)
    return Normalisation(torch.from_numpy(moments["mean_D"]), float(moments["rms"]))
