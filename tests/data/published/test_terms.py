import pytest

from data.published.terms import MAX_WORD, fold, query_words, terms, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The University's café", ["the", "university", "'", "s", "cafe"]),
        ("naïve x_y STRASSE Straße", ["naive", "x", "_", "y", "strasse", "strasse"]),
        ("日本語 text", ["日", "本", "語", "text"]),
        ("हिन्दी שלום", ["हिन्दी", "שלום"]),
        ("😀👍🏽 ❤️", ["😀", "👍", "🏽", "❤"]),
        ("a\x00b\u202ec\u200f", ["a", "b", "c"]),
        ("Ａｂｃ ﬁn 1,5 e\u0301", ["abc", "fin", "1", ",", "5", "e"]),
        ("\u0301 \ufe0f \n\t", []),
        ("", []),
    ],
)
def test_words_of_a_text(text, expected):
    found = list(words(text))
    assert [word.form for word in found] == expected
    assert all(fold(text[word.start : word.stop]) == word.form for word in found)


def test_words_hold_no_white_space_and_are_not_empty():
    text = "".join(chr(code) for code in range(0x3100)) + "".join(f" {chr(code)} " for code in range(0x3100))
    for word in words(text):
        assert word.form
        assert not any(character.isspace() for character in word.form)


def test_the_fast_way_for_plain_text_finds_the_same():
    text = "".join(map(chr, range(128))) + "It's 12:30 -- MIXED_case, a.b"
    slow = [word.form for word in words(text + " é")]
    assert [*(word.form for word in words(text)), "e"] == slow
    assert terms([text])[-1] == terms([text + " é"])[-2] == "b"


def test_a_text_is_found_by_every_beginning_and_whole_words_count_more():
    found = terms(["New York", "newt"])
    assert set(found) == {"n", "ne", "new", "newt", "y", "yo", "yor", "york"}
    assert {term: found.count(term) for term in ("n", "new", "newt")} == {"n": 1, "new": 2, "newt": 2}
    assert terms(["river", "River rivers"]).count("river") == 3
    assert terms(["", "é"]) == ["e", "e"]
    assert max(map(len, terms(["x" * 99]))) == MAX_WORD


def test_a_query_has_signs_only_where_there_is_nothing_else():
    assert query_words('"New" york, new') == ["new", "york"]
    assert query_words("(( ") == ["("]
    assert query_words("\x00 \u200d") == []
