"""What sets the children of a split apart, on planted examples."""

from backend.html.tokens import TokenView
from backend.published.examples import Example
from backend.splitting.apart import clues, set_apart


def example(text: str) -> Example:
    """An example of words; the one after `*` holds the peak."""
    words = text.split()
    place = next(i for i, word in enumerate(words) if word.startswith("*"))
    tokens = [TokenView(f" {word.lstrip('*')}", "", 0.0, -1) for word in words]
    return Example("top", 0, -1, "0" * 16, "a text", 100 + place, 100, 1.0, 1.0, tokens, 0)


def examples(*texts: str) -> list[Example]:
    return [example(text) for text in texts]


def test_clues_are_the_word_its_neighbours_and_what_is_near() -> None:
    found = clues(example("the great *University of Vienna"))
    assert {("", "university"), ("after", "great"), ("before", "of"), ("near", "vienna")} <= found
    assert ("near", "of") not in found


def test_children_are_named_by_what_their_siblings_lack() -> None:
    oxford = examples("at *University of Oxford", "her *University of Oxford", "no *University of Oxford")
    state = examples("Ohio State *University is", "Iowa State *University has", "Utah State *University won")
    assert set_apart([oxford, state]) == ['before "of"', 'after "state"']


def test_another_word_at_the_peak_comes_first() -> None:
    kings = examples("a *king of it", "the *king in it", "no *king was it")
    queens = examples("a *queen of it", "the *queen in it", "no *queen was it")
    assert set_apart([kings, queens]) == ['"king"', '"queen"']


def test_what_all_siblings_share_says_nothing() -> None:
    same = examples("a *king of it", "the *king of it")
    assert set_apart([same, same]) == ["", ""]
    assert set_apart([same]) == [""]
    assert set_apart([]) == []
