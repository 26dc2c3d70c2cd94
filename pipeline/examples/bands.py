"""The bins of the histogram, the bands between 0 and a feature's maximum, and what the bins say of the bands.

Shapes: F features, H histogram bins, A bands, N and M activations.
"""

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from data.artifacts.features import histogram_edges
from pipeline.arrays import Floats, Ints


class Lattice:
    """Finds the histogram bin of an activation without searching.

    The upper 16 bits of a float32 name a cell so narrow that at most one edge lies in it: a table gives the bin of the
    cell's lower end, one comparison with the next edge the rest.
    """

    def __init__(self, scale: float) -> None:
        edges = histogram_edges(scale)[1:-1]
        rounded = edges.astype(np.float32)
        # The lowest float32 not below each edge: comparing with it is comparing with the edge itself.
        self.inner_edges = np.where(rounded < edges, np.nextafter(rounded, np.float32(np.inf)), rounded)
        cells = (np.arange(1 << 15, dtype=np.uint32) << np.uint32(16)).view(np.float32)
        self._bin_of_cell = np.searchsorted(self.inner_edges, cells, side="right").astype(np.int64)
        self._next_edge = np.append(self.inner_edges, np.float32(np.inf))

    def bins(self, value_N: Floats) -> Ints:
        """Histogram bins of positive activations [N]."""
        bin_N = self._bin_of_cell[value_N.view(np.uint32) >> np.uint32(16)]
        return cast(Ints, bin_N + (value_N >= self._next_edge[bin_N]))


class BandBounds(NamedTuple):
    """Between how many and how many tokens each band of a feature holds, by its histogram alone [F, A]."""

    least_FA: Ints
    most_FA: Ints


def bands_of(value_M: Floats, max_M: Floats, num_bands: int) -> npt.NDArray[np.int8]:
    """The band in which each activation lies, of `num_bands` equal ones between 0 and its feature's maximum [M]."""
    share_M = value_M.astype(np.float64) / np.maximum(max_M.astype(np.float64), np.finfo(np.float64).tiny)
    return np.minimum(share_M * num_bands, num_bands - 1).astype(np.int8)


def band_bounds(histogram_FH: Ints, max_F: Floats, inner_edges: Floats, num_bands: int) -> BandBounds:
    """Bounds from the bins that lie wholly in a band, and from those that touch it.

    inner_edges: the lowest activation of every bin but the first [H - 1], see Lattice.
    """
    first, last = np.float32(0), np.float32(np.inf)
    lowest_FH = np.minimum(np.concatenate([[first], inner_edges]), max_F[:, None])
    below_edges = np.concatenate([np.nextafter(inner_edges, first), [last]])
    highest_FH = np.minimum(below_edges, max_F[:, None])
    from_FH, to_FH = (bands_of(edge_FH, max_F[:, None], num_bands) for edge_FH in (lowest_FH, highest_FH))
    least, most = [], []
    for band in range(num_bands):
        touches_FH = (from_FH <= band) & (band <= to_FH)
        most.append((histogram_FH * touches_FH).sum(1))
        least.append((histogram_FH * (touches_FH & (from_FH == to_FH))).sum(1))
    return BandBounds(np.stack(least, 1), np.stack(most, 1))
