"""What `plan` says of the comparison with neurons, of a model that is there or not, and of features that are held."""

from typing import Any

from pipeline.commands.plan import concepts_text, neurons_text, strengths_text
from tests.support.fake_run import fake_recipe

PER_LAYER = 64


def text(per_layer: int | None = PER_LAYER, **config: Any) -> str:
    return neurons_text(fake_recipe(neurons=config), per_layer)


def test_one_reading_where_memory_allows() -> None:
    assert text() == "all features with 128 neurons, on 24,000 tokens read once"


def test_a_budget_and_several_readings_are_said() -> None:
    said = text(features=100, max_tokens=500, memory_gb=0.0182)
    assert said.startswith("100 of 384 features, the most active, with 128 neurons, on 500 tokens")
    assert said.endswith("read 4 times, for neurons.memory_gb=0.0182")


def test_too_little_memory_is_said_before_the_run() -> None:
    assert "neurons.memory_gb=0.001 is not enough" in text(memory_gb=0.001)


def test_none_and_a_model_that_is_not_fetched() -> None:
    assert text(features=0) == "none (neurons.features=0)"
    assert text(None) == "all features on 24,000 tokens"


def test_concepts_and_their_prompts_are_counted() -> None:
    assert concepts_text(fake_recipe()) == "6, in 24 prompts"
    assert concepts_text(fake_recipe(completeness={"lists": []})) == "none"
    assert "no list of concepts 'x'" in concepts_text(fake_recipe(completeness={"lists": ["x"]}))


def test_what_is_written_and_judged_of_held_features_is_said() -> None:
    said = strengths_text(fake_recipe(strengths={"features": 1000}).strengths)
    assert said.startswith("1,000 features at 10 strengths after 2 openings")
    assert said.endswith("at most 10,000 texts of 16 tokens and 12,000 questions to one judge")
    assert strengths_text(fake_recipe(strengths={"text_strengths": []}).strengths).endswith("no texts")
    assert strengths_text(fake_recipe(strengths={"features": 0}).strengths) == "none (strengths.features=0)"
