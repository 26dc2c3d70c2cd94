"""Decoder directions of saved SAEs, and the nearest among them by cosine: exact, tile by tile, in float32.

Shapes: R features of all SAEs in the order of the recipe, F features of one SAE, T rows of a tile, D width, K nearest.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from safetensors import safe_open
from torch import Tensor

from data.arrow import read_arrow
from data.artifacts.features import MINOR_NEIGHBOURS, STATISTICS_FILE, FeatureKinds, read_kinds
from pipeline.models.sae import WEIGHTS_FILE
from pipeline.progress import track

TILE_ELEMENTS = 1 << 25
"""Cosines held at once: 128 MiB."""


class Nearest(NamedTuple):
    """The nearest of some features, the nearest first; equal ones by index."""

    indices_TK: Tensor
    """int32, -1 where there are fewer than K."""
    cosines_TK: Tensor
    """float32, 0 where there are fewer than K."""


def decoder_rows(folder: Path, rows: slice) -> npt.NDArray[np.float32]:
    """Some decoder directions of a saved SAE [rows, D], read alone."""
    with safe_open(folder / WEIGHTS_FILE, framework="np") as weights:
        return np.ascontiguousarray(weights.get_slice("W_dec")[rows], np.float32)


def unit(W_FD: Tensor) -> Tensor:
    """Rows scaled to norm 1; a row of zeros stays as it is."""
    return torch.nn.functional.normalize(W_FD, dim=1)


def load_directions(folders: Sequence[Path], device: str) -> list[Tensor]:
    """The decoder directions [F, D] of each saved SAE, norm 1."""
    return [unit(torch.from_numpy(decoder_rows(folder, slice(None))).to(device)) for folder in folders]


def cosine_tiles(W_RD: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Cosines [T, R] of every row with all rows; a row with itself gets -inf, so that it is never its own neighbour."""
    step = max(1, TILE_ELEMENTS // len(W_RD)) if len(W_RD) else 1
    for start in range(0, len(W_RD), step):
        rows = slice(start, min(start + step, len(W_RD)))
        cosines_TR = (W_RD[rows] @ W_RD.T).clamp_(-1, 1)
        cosines_TR.diagonal(offset=start).fill_(-torch.inf)
        yield rows, cosines_TR


def nearest(cosines_TF: Tensor, k: int) -> Nearest:
    """The k highest of each row."""
    values_TK, indices_TK = cosines_TF.topk(min(k, cosines_TF.shape[1]), dim=1)
    indices_TK, order_TK = indices_TK.sort(dim=1)
    values_TK, order_TK = values_TK.gather(1, order_TK).sort(dim=1, descending=True, stable=True)
    indices_TK = indices_TK.gather(1, order_TK)
    absent_TK = values_TK == -torch.inf
    padding = (0, k - values_TK.shape[1])
    return Nearest(
        torch.nn.functional.pad(indices_TK.masked_fill(absent_TK, -1), padding, value=-1).int(),
        torch.nn.functional.pad(values_TK.masked_fill(absent_TK, 0), padding, value=0),
    )


def kinds_of(examples: Path, saes: Sequence[str], rare_tokens: int) -> list[FeatureKinds]:
    """The live, rare, negligible and dead features of each SAE. examples: the artifact of that stage."""
    return [read_kinds(read_arrow(examples / name / STATISTICS_FILE), rare_tokens) for name in saes]


def neighbour_batches(
    directions: list[Tensor], kinds: Sequence[FeatureKinds], k: int, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The table of data.artifacts.features.neighbours_schema, one batch a tile.

    directions: norm-1 rows [F, D] of each SAE.
    """
    sizes = [len(W_FD) for W_FD in directions]
    W_RD = torch.cat(directions)
    wanted = [
        (k, torch.from_numpy(np.concatenate([kind.live_F for kind in kinds])).to(W_RD.device)),
        (min(k, MINOR_NEIGHBOURS), torch.from_numpy(np.concatenate([kind.minor_F for kind in kinds])).to(W_RD.device)),
    ]
    with track("neighbours", len(W_RD), "features") as progress:
        for rows, cosines_TR in cosine_tiles(W_RD):
            columns = [c for count, among_R in wanted for c in _nearest_of_each(cosines_TR, among_R, sizes, count)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            progress.advance(rows.stop - rows.start)


def _nearest_of_each(cosines_TR: Tensor, among_R: Tensor, sizes: list[int], k: int) -> list[pa.Array]:
    """Indices and cosines of the k nearest in each SAE, among some features alone."""
    cosines_TR = cosines_TR.masked_fill(~among_R, -torch.inf)
    found = [nearest(cosines_TF, k) for cosines_TF in torch.split(cosines_TR, sizes, dim=1)]
    columns = [torch.cat(parts, dim=1).cpu().numpy() for parts in zip(*found, strict=True)]
    return [pa.FixedSizeListArray.from_arrays(column.reshape(-1), len(sizes) * k) for column in columns]
