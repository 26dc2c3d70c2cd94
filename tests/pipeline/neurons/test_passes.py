from itertools import pairwise

import pytest

from data.errors import ConfigError
from pipeline.neurons.passes import NeuronRange, Sizes, plan_passes
from pipeline.recipe.neurons import NeuronsConfig


def test_one_pass_where_memory_allows() -> None:
    sample = Sizes(9216, 15 * 1536, 2048, 2, "cpu")
    assert plan_passes(sample, NeuronsConfig()) == [NeuronRange(0, 15 * 1536)]


def test_a_million_features_of_a_large_model_take_several_passes_that_hold_every_neuron_once() -> None:
    large = Sizes(1 << 20, 28 * 8192, 131_072, 2, "cuda")
    passes = plan_passes(large, NeuronsConfig(memory_gb=100.0))
    assert passes[0].start == 0
    assert passes[-1].stop == large.num_neurons
    assert all(one.stop == next_.start for one, next_ in pairwise(passes))
    assert 4 * large.num_features * max(map(len, passes)) < 100e9
    assert max(map(len, passes)) - min(map(len, passes)) <= 1


def test_too_little_memory_is_said_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"neurons.memory_gb=0.01 is not enough for 9,216 features: set it to 0\.\d+"):
        plan_passes(Sizes(9216, 15 * 1536, 2048, 2, "cpu"), NeuronsConfig(memory_gb=0.01))


def test_a_range_knows_its_neurons_of_a_layer() -> None:
    neurons = NeuronRange(5, 25)
    assert neurons.in_layer(0, 10) == (slice(5, 10), slice(0, 5))
    assert neurons.in_layer(1, 10) == (slice(0, 10), slice(5, 15))
    assert neurons.in_layer(2, 10) == (slice(0, 5), slice(15, 20))
    assert neurons.in_layer(3, 10) is None
