from pathlib import Path

import pytest

from data.concepts.lists import MAX_CONCEPTS
from data.errors import ConfigError
from pipeline.completeness.lists import AllConcepts, list_names, load_lists
from pipeline.preflight.completeness import concept_problems
from pipeline.recipe.completeness import LISTS
from tests.support.fake_run import fake_recipe


def test_the_recipe_names_every_list_that_comes_with_the_code() -> None:
    assert sorted(LISTS) == list_names()
    for one in load_lists(LISTS):
        assert 20 < len(one.content.concepts) <= MAX_CONCEPTS
        assert len(one.content.templates) == 4


def test_the_lists_are_whole() -> None:
    sizes = {one.name: len(one.content.concepts) for one in load_lists(LISTS)}
    assert (sizes["london-boroughs"], sizes["us-states"], sizes["chemical-elements"]) == (33, 50, 118)


def test_words_with_another_sense_are_marked_in_the_lists() -> None:
    marked = {concept.name for one in load_lists(LISTS) for concept in one.content.concepts if concept.ambiguous}
    assert {"lead", "orange", "Python", "Washington"} < marked
    assert not marked & {"iron", "France", "London"}


def test_prompts_stand_in_the_order_of_their_concepts(tmp_path: Path) -> None:
    for name, text in (("one", "> x {}\n> y {}\na\nb"), ("two", "> z {}\nc")):
        (tmp_path / f"{name}.txt").write_text(text)
    found = AllConcepts.of([one.content for one in load_lists([str(tmp_path / f"{n}.txt") for n in ("one", "two")])])
    assert found.prompts == ["x a", "y a", "x b", "y b", "z c"]
    assert (found.list_of, found.num_prompts) == ([0, 0, 1], [2, 2, 1])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nothing-of-the-kind"], "use some of animals"),
        (["missing.txt"], "or the path of a .txt"),
        (["foods", "foods"], "two lists of concepts are called 'foods'"),
    ],
)
def test_what_is_no_list_is_told_before_any_work(names: list[str], said: str) -> None:
    recipe = fake_recipe(completeness={"lists": names})
    assert said in concept_problems(recipe)[0]
    with pytest.raises(ConfigError):
        load_lists(names)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        load_lists([str(tmp_path / "a.txt")])
    assert concept_problems(fake_recipe()) == []
