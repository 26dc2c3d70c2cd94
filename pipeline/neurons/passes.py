"""Passes over the tokens: the neurons of all layers in ranges that fit into the memory limit.

A neuron of the model has one number over all layers: layer * neurons per layer + number in its layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from data.errors import ConfigError
from pipeline.recipe.neurons import NeuronsConfig

SUM_BYTES = 4
"""Of each sum of products, float32."""
EXAMPLE_BYTES = 24
"""Of an example beside its window: activation, document and position."""
SIDES = 2
"""Ends of a neuron's range that have examples: its highest and its lowest activations."""


MOST_THREADS = 8
"""That work side by side on a CPU, each on a tile of its own."""


def tile_width(device: str) -> int:
    """Neurons of a tile on a type of device: on a CPU so few that their products stay in its cache."""
    return 128 if device == "cpu" else 2048


@dataclass(frozen=True)
class NeuronRange:
    """Consecutive neurons."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def in_layer(self, layer: int, per_layer: int) -> tuple[slice, slice] | None:
        """Its neurons of one layer: places in that layer, and in the range; None where it has none there."""
        first = layer * per_layer
        start, stop = max(self.start, first), min(self.stop, first + per_layer)
        if start >= stop:
            return None
        return slice(start - first, stop - first), slice(start - self.start, stop - self.start)


class Sizes(NamedTuple):
    """Numbers that decide the memory of a pass."""

    num_features: int
    num_neurons: int
    batch_positions: int
    """Tokens that the model reads at once, padding included."""
    value_bytes: int
    """Of an activation in the model's dtype."""
    device: str
    """Its type: cpu or cuda."""


def plan_passes(sizes: Sizes, config: NeuronsConfig) -> list[NeuronRange]:
    """All neurons in as few ranges of like length as the memory limit allows.

    Raises ConfigError when it does not allow one neuron.
    """
    window = (2 * config.context + 1) * sizes.value_bytes + EXAMPLE_BYTES
    always = sizes.num_neurons * SIDES * config.examples * window
    tile = 2 * SUM_BYTES * tile_width(sizes.device) * (sizes.num_features + sizes.batch_positions)
    tiles = tile * MOST_THREADS if sizes.device == "cpu" else tile
    per_neuron = SUM_BYTES * sizes.num_features + sizes.value_bytes * sizes.batch_positions
    room = int((config.memory_gb * 1e9 - always - tiles) // per_neuron)
    if room < 1:
        least = (always + tiles + per_neuron) / 1e9
        raise ConfigError(
            f"neurons.memory_gb={config.memory_gb:g} is not enough for {sizes.num_features:,} features: set it to "
            f"{least:.2f} or more, or correlate fewer (neurons.features)"
        )
    return list(_cut(sizes.num_neurons, -(-sizes.num_neurons // room)))


def _cut(total: int, pieces: int) -> Iterator[NeuronRange]:
    cuts = [total * piece // pieces for piece in range(pieces + 1)]
    return (NeuronRange(start, stop) for start, stop in pairwise(cuts))
