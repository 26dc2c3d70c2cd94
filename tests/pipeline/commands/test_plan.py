"""What `plan` says of the comparison with neurons: of a model that is there, and of one that is not."""

from typing import Any

from pipeline.commands.plan import concepts_text, neurons_text
from tests.support.fake_run import fake_recipe

PER_LAYER = 64


def text(per_layer: int | None = PER_LAYER, **config: Any) -> str:
    return neurons_text(fake_recipe(neurons=config), per_layer)


def test_one_reading_where_memory_allows() -> None:
    assert text() == "all features with 128 neurons, on 24,000 tokens read once"


def test_a_budget_and_several_readings_are_said() -> None:
    said = text(features=100, max_tokens=500, memory_gb=0.005)
    assert said.startswith("100 of 384 features, the most active, with 128 neurons, on 500 tokens")
    assert said.endswith("read 4 times, for neurons.memory_gb=0.005")


def test_too_little_memory_is_said_before_the_run() -> None:
    assert "neurons.memory_gb=0.001 is not enough" in text(memory_gb=0.001)


def test_none_and_a_model_that_is_not_fetched() -> None:
    assert text(features=0) == "none (neurons.features=0)"
    assert text(None) == "all features on 24,000 tokens"


def test_concepts_and_their_prompts_are_counted() -> None:
    assert concepts_text(fake_recipe()) == "6, in 24 prompts"
    assert concepts_text(fake_recipe(completeness={"lists": []})) == "none"
    assert "no list of concepts 'x'" in concepts_text(fake_recipe(completeness={"lists": ["x"]}))
