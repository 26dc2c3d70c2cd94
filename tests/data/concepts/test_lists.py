import pytest

from data.concepts.lists import (
    MAX_CHARACTERS,
    MAX_CONCEPTS,
    TEMPLATES,
    Concept,
    kin_of,
    parse_concepts,
)
from data.errors import ConfigError


def test_a_list_has_a_title_prompts_and_concepts_with_their_spellings() -> None:
    found = parse_concepts("# Metals \n> A lump of {}\n> It was made of {}\n\n iron \naluminium|aluminum\n")
    assert found.title == "Metals"
    assert found.templates == ("A lump of {}", "It was made of {}")
    assert [one.spellings for one in found.concepts] == [("iron",), ("aluminium", "aluminum")]
    assert found.prompts(found.concepts[1]) == ["A lump of aluminium", "It was made of aluminium"]


def test_a_list_of_names_alone_has_the_usual_prompts_and_a_title() -> None:
    found = parse_concepts("Camden\r\nBrent")
    assert (found.title, found.templates) == ("Camden and others", TEMPLATES)
    assert found.digest == parse_concepts("Camden\nBrent").digest != parse_concepts("Camden").digest


def test_a_concept_with_another_sense_is_marked() -> None:
    found = parse_concepts("iron\nlead ~\nsulfur | sulphur~")
    assert [one.ambiguous for one in found.concepts] == [False, True, True]
    assert [one.spellings for one in found.concepts] == [("iron",), ("lead",), ("sulfur", "sulphur")]
    assert found.digest != parse_concepts("iron\nlead\nsulfur | sulphur").digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no concepts"),
        ("# title\n> a {}\n \n", "has no concepts"),
        ("x" * (MAX_CHARACTERS + 1), f"line 1 has {MAX_CHARACTERS + 1} characters"),
        ("a\nb\nb", "'b' twice"),
        ("a | b\nb", "'b' twice"),
        ("a | b | c | d | e", "5 spellings"),
        ("> {} is\na", "line 1 is no prompt"),
        ("> a {} {}\na", "line 1 is no prompt"),
        ("a\nbe\x07ll", "line 2 has a character that is not text"),
        ("PNG\ufffd", "not text"),
        ("...", "without a letter"),
        ("~", "without a letter"),
        ("\n".join(map(str, range(MAX_CONCEPTS + 1))), f"at most {MAX_CONCEPTS}"),
    ],
)
def test_what_is_no_list_is_refused_with_its_line_and_a_remedy(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(").replace("{", r"\{").replace(".", r"\.")):
        parse_concepts(text)


def test_kin_share_all_words_of_one_of_them() -> None:
    names = ["Guinea", "Equatorial Guinea", "Georgia", "Georgia", "New Zealand", "New York", "Guineas"]
    concepts = [Concept((name,)) for name in names]
    assert kin_of(concepts) == [(0, 1), (1, 0), (2, 3), (3, 2)]


def test_kin_are_found_by_any_spelling() -> None:
    assert kin_of([Concept(("Myanmar", "Burma")), Concept(("Burma Road",))]) == [(0, 1), (1, 0)]
