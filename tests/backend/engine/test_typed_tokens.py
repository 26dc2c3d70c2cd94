import pytest

from backend.engine.typed_tokens import MOST_CHOICES, TypedTokens

PIECES = [b"<s>", b"", b" ", b" Paris", b"Paris", b" paris", b"\n", b"\n", "日".encode()[:1], "میخواهم".encode(), b" C"]
PIECES += [b"  Paris"]


@pytest.mark.parametrize(
    ("text", "first", "others"),
    [
        (" Paris", 3, [4]),
        ("Paris", 4, [3]),
        ("␣Paris", 3, [4]),
        ("  Paris", 11, [4]),
        ("C", 10, []),
        (" ", 2, []),
        ("␣", 2, []),
        ("میخواهم", 9, []),
    ],
)
def test_the_spelling_comes_first_then_the_same_with_a_space_or_without(text, first, others):
    found = TypedTokens(PIECES).written(text)
    assert found[0] == first
    assert set(others) <= set(found[1:])


def test_of_equals_the_tokenizers_own_comes_first():
    tokens = TypedTokens(PIECES)
    assert tokens.written("↵") == [6, 7]
    assert tokens.written("↵", preferred=[7]) == [7, 6]


@pytest.mark.parametrize("text", ["", "no such word", "PARIS", "\ud800"])
def test_what_is_not_written_so_is_not_found(text):
    assert TypedTokens(PIECES).written(text) == []


def test_tokens_alike_differ_in_spaces_and_capitals():
    assert TypedTokens(PIECES).alike("PARIS") == [3, 4, 5, 11]
    assert TypedTokens(PIECES).alike("") == TypedTokens(PIECES).alike(" ") == []
    assert len(TypedTokens([b" " * n + b"a" for n in range(99)]).alike("A")) == MOST_CHOICES
