from itertools import pairwise

import pytest

from data.published.terms import MAX_RUN, MAX_WORD, all_words, compounds, fold, forms, query_words, terms, words


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
    assert {*terms([text]), "e"} == set(terms([text + " é"]))


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C++ and C#, in (F#).", ["c++", "c#", "f#"]),
        ("x86-64 x86_64", ["x86-64", "x86-64"]),
        ("it's don’t U.S. e-mail", ["it's", "don't", "u.s", "e-mail"]),
        ("1914–18 and 9/11", ["1914-18", "9/11"]),
        ("می‌خواهم", ["میخواهم"]),
        ("co\u00adop", ["coop"]),
        ("a b + c (d) -e f- 日-本", []),
        ("plain words", []),
    ],
)
def test_compounds_of_a_text(text, expected):
    assert [word.form for word in compounds(text, list(words(text)))] == expected


def test_the_fast_way_for_plain_text_finds_the_same_compounds():
    text = "C++ C#11 x86_64 well-known it's a.b. --x- ++ (a)(b) @name 1,000 a_b_c+ f#-g 50% x=y&z"
    assert [*forms(text), "e"] == [form for form in forms(text + " é") if form != "e"] + ["e"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("C++", ["c++"]),
        ("c#", ["c#"]),
        ("x86-64", ["x86-64"]),
        ("well-known", ["well", "known"]),
        ("the U.S. army", ["the", "u.s", "army"]),
        ("rock'n'roll", ["rock'n'roll"]),
        ("C", ["c"]),
        ("ประเทศ", ["ประเทศ"]),
        ("می‌خواهم", ["میخواهم"]),
        ("كتاب", ["کتاب"]),
        ("日本", ["日", "本"]),
    ],
)
def test_a_query_keeps_the_signs_without_which_it_says_little(typed, expected):
    assert query_words(typed) == expected


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("ประเทศ", "ฉันรักประเทศไทยมาก"),
        ("ລາວ", "ຂ້ອຍມັກປະເທດລາວຫຼາຍ"),
        ("ខ្មែរ", "ខ្ញុំចេះភាសាខ្មែរបន្តិចបន្តួច"),
        ("မြန်မာ", "ကျွန်တော်မြန်မာစကားပြောတတ်တယ်"),
        ("ไทยแลนด์แดนสยามเมืองยิ้ม", "มาเที่ยวไทยแลนด์แดนสยามเมืองยิ้มกันเถอะ"),
        ("C++", "He wrote it in C++, not in C."),
        ("C#", "(C#)"),
        ("x86-64", "an x86-64-based machine"),
        ("خواهم", "من می‌خواهم بروم"),
        ("میخواهم", "من می‌خواهم بروم"),
        ("日本", "私は日本に住んでいます"),
    ],
)
def test_words_are_found_in_mid_sentence(word, sentence):
    asked = query_words(word)
    assert asked
    assert set(asked) <= set(terms([sentence]))


def test_a_word_without_spaces_around_it_is_a_word_of_its_own_and_bounded():
    found = list(words("ฉันรักประเทศไทยมาก"))
    assert all(before.stop == after.start for before, after in pairwise(found))
    assert {len(word.form) for word in found[:4]} == {MAX_RUN}
    assert query_words("กา") != query_words("า"), "a vowel sign that stands on a letter begins no word"


def test_a_compound_comes_before_its_first_word():
    assert [word.form for word in all_words("in C++ now")] == ["in", "c++", "c", "+", "+", "now"]
