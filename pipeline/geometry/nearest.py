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


class _Among(NamedTuple):
    """Features of one SAE that neighbours are sought among."""

    index_C: Tensor
    W_CD: Tensor
    place_R: Tensor
    """Place among them of every feature of all SAEs, -1 of others."""

    def nearest(self, rows: slice, W_TD: Tensor, k: int) -> Nearest:
        """The k nearest of the features in `rows`, by index in their SAE; none is its own."""
        cosines_TC = (W_TD @ self.W_CD.T).clamp_(-1, 1)
        place_T = self.place_R[rows]
        own_T = torch.nonzero(place_T >= 0)[:, 0]
        cosines_TC[own_T, place_T[own_T]] = -torch.inf
        places_TK, cosines_TK = nearest(cosines_TC, k)
        index_C = torch.nn.functional.pad(self.index_C, (0, 1), value=-1)  # the place -1 is of nobody
        return Nearest(index_C[places_TK].int(), cosines_TK)


def neighbour_batches(
    directions: list[Tensor], kinds: Sequence[FeatureKinds], k: int, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The table of data.artifacts.features.neighbours_schema, one batch a tile.

    directions: norm-1 rows [F, D] of each SAE.
    """
    wanted = [
        (k, _among(directions, [kind.live_F for kind in kinds])),
        (min(k, MINOR_NEIGHBOURS), _among(directions, [kind.minor_F for kind in kinds])),
    ]
    step = max(1, TILE_ELEMENTS // max(map(len, directions), default=1))
    start = 0
    with track("neighbours", sum(map(len, directions)), "features") as progress:
        for W_TD in (tile for W_FD in directions for tile in torch.split(W_FD, step)):
            rows = slice(start, start + len(W_TD))
            columns = [column for count, among in wanted for column in _nearest_of_each(rows, W_TD, among, count)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            progress.advance(len(W_TD))
            start = rows.stop


def _among(directions: list[Tensor], masks: Sequence[npt.NDArray[np.bool_]]) -> list[_Among]:
    """The chosen features of each SAE."""
    total, start, found = sum(map(len, directions)), 0, []
    for W_FD, mask_F in zip(directions, masks, strict=True):
        index_C = torch.from_numpy(np.flatnonzero(mask_F)).to(W_FD.device)
        place_R = torch.full((total,), -1, device=W_FD.device)
        place_R[start + index_C] = torch.arange(len(index_C), device=W_FD.device)
        found.append(_Among(index_C, W_FD[index_C], place_R))
        start += len(W_FD)
    return found


def _nearest_of_each(rows: slice, W_TD: Tensor, among: list[_Among], k: int) -> list[pa.Array]:
    """Indices and cosines of the k nearest in each SAE, among some features alone."""
    found = [one.nearest(rows, W_TD, k) for one in among]
    columns = [torch.cat(parts, dim=1).cpu().numpy() for parts in zip(*found, strict=True)]
    return [pa.FixedSizeListArray.from_arrays(column.reshape(-1), len(among) * k) for column in columns]
