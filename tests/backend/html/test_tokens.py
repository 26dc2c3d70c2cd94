import pytest

from backend.html.characters import PART, title_of
from backend.html.tokens import (
    LEVELS,
    highlight,
    level,
    text_direction,
    token_text,
    token_texts,
    visible_text,
    written_text,
)


def texts(*tokens: bytes) -> list[str]:
    return [shown.text for shown in token_texts(tokens)]


@pytest.mark.parametrize("character", ["日", "é", "🦙"])
def test_a_split_character_is_shown_once_at_the_token_that_completes_it(character):
    parts = [bytes([byte]) for byte in character.encode()]
    assert texts(b"a", *parts, b"b") == ["a", *[PART] * (len(parts) - 1), character, "b"]


def test_a_token_may_end_one_character_and_begin_the_next():
    first, second = "日".encode(), "本".encode()
    assert texts(b"x" + first[:1], first[1:] + second[:2], second[2:]) == ["x" + PART, "日" + PART, "本"]


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        ([b"\xff"], ["\\xff"]),
        ([b"\xe6", b"ok"], ["\\xe6", "ok"]),
        ([b"\xed\xa0\x80"], ["\\xed\\xa0\\x80"]),  # a lone surrogate
        ([b"\xf0\x9f", b"\xff"], ["\\xf0\\x9f", "\\xff"]),
        ([b"\x80", b"\xe6\x97\xa5"], ["\\x80", "日"]),
    ],
)
def test_bytes_that_are_no_text_are_shown_as_bytes(tokens, shown):
    assert texts(*tokens) == shown


@pytest.mark.parametrize(
    ("token", "shown", "mark"),
    [
        (b"\n", "↵", "newline"),
        (b" \n\n", "␣↵↵", "newline"),
        (b"\t", "⇥", "space"),
        (b" ", "␣", "space"),
        (b"\x00", "\\x00", ""),
        (b"\x7f", "\\x7f", ""),
        ("\u202e".encode(), "‹RLO›", ""),
        ("a\u200fb".encode(), "a‹RLM›b", ""),
        ("می‌خواهم".encode(), "می‌خواهم", ""),
        ("\u200c".encode(), "\u200c", "unseen"),
        ("\u00a0".encode(), "\u00a0", "unseen"),
        (" \u00a0".encode(), "␣\u00a0", "space"),
        ("\u3000".encode(), "\u3000", "unseen"),
        ("你好\u3000世界".encode(), "你好\u3000世界", ""),
        ("👩‍🚀".encode(), "👩‍🚀", ""),
        ("\u2028".encode(), "↵", "newline"),
        ("\x85".encode(), "▯", ""),
        (b" the", " the", ""),
        (b"  x", "␣ x", ""),
        (b"<script>", "<script>", ""),
    ],
)
def test_what_would_not_be_seen_is_marked(token, shown, mark):
    [text] = token_texts([token])
    assert (text.text, text.mark) == (shown, mark)


def test_every_text_is_told_apart_from_its_neighbours():
    assert token_text(b" the") == "␣the"
    assert token_text(b"the") == "the"


@pytest.mark.parametrize(
    ("token", "shown", "title"),
    [
        ("\u200c", "‹ZWNJ›", "zero width non-joiner"),
        ("\u200d", "‹ZWJ›", "zero width joiner"),
        ("\u00a0", "‹NBSP›", "no-break space"),
        ("\u3000", "‹IDSP›", "ideographic space"),
        ("\u2004", "‹SP›", "space of another width"),
        ("\u2061", "‹ZW›", "character without a width"),
        ("\u202e", "‹RLO›", "right-to-left override"),
        ("\u0301", "◌\u0301", "combining acute accent"),
        ("\u0e31", "◌\u0e31", "thai character mai han-akat"),
        ("\ufe0f", "‹VS16›", "variation selector-16"),
        ("\n", "↵", "line break"),
        (" ", "␣", "space"),
        (" the", "␣the", ""),
        ("می‌خواهم", "می‌خواهم", "zero width non-joiner"),
        ("❤\ufe0f", "❤\ufe0f", ""),
        ("รถ", "รถ", ""),
        ("\u0085", "▯", "control or unassigned character"),
    ],
)
def test_a_token_that_stands_alone_is_seen_and_says_what_is_unusual_in_it(token, shown, title):
    assert token_text(token.encode()) == shown
    assert title_of(shown) == title


def test_parts_of_a_character_say_so():
    assert title_of(texts(*(bytes([byte]) for byte in "日".encode()))[0]) == "part of a character"
    assert title_of(token_text(b"\xe6\x97")) == "bytes that are no whole character"


def test_what_is_not_seen_is_marked_where_it_completes_a_character():
    parts = ["\u200c".encode()[:2], "\u200c".encode()[2:]]
    assert [tuple(one) for one in token_texts(parts)] == [(PART, "part"), ("\u200c", "unseen")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("کتاب می‌خوانم", "کتاب می‌خوانم"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
        ("\u200b", "‹ZWSP›"),
        ("file\u202etxt.exe", "file‹RLO›txt.exe"),
        ("a\nb", "a↵b"),
    ],
)
def test_labels_and_titles_keep_their_characters(text, shown):
    assert visible_text(text) == shown


def test_running_text_keeps_joiners_and_lines():
    assert written_text("می‌خواهم\n👩‍🚀\u202e") == "می‌خواهم\n👩‍🚀‹RLO›"


def test_the_direction_of_a_line_is_that_of_most_of_its_letters():
    assert text_direction("A few words: این یک جمله است که از راست به چپ خوانده می‌شود") == "rtl"
    assert text_direction("one word is کتاب here, no more than that") == "ltr"
    assert text_direction("1, 2") == "ltr"


def test_levels_cover_the_scale():
    assert level(0.0, 10) == level(-1.0, 10) == level(1.0, 0) == -1
    assert [level(value, 12.0) for value in (0.001, 0.999, 1.0, 11.999, 12.0, 13.0)] == [0, 0, 1, 11, 11, LEVELS - 1]


def test_highlight_keeps_values_and_marks_the_centre():
    shown = highlight([b"a", b" ", b"b"], [0.0, 0.0, 3.0], 3.0, centre=1)
    assert [(t.text, t.value, t.level, t.centre) for t in shown] == [
        ("a", 0.0, -1, False),
        ("␣", 0.0, -1, True),
        ("b", 3.0, 11, False),
    ]
    assert highlight([b" "], [0.0], 1.0)[0].text == " ", "a lone space that does not matter is not marked"


def test_a_word_stays_whole_whose_letters_are_split_over_tokens_that_do_not_matter():
    parts = [bytes([byte]) for byte in "سلام".encode()]
    assert "".join(one.text for one in highlight(parts, [0.0] * len(parts), 1.0)) == "سلام"
    shown = highlight(parts, [1.0, *[0.0] * (len(parts) - 1)], 1.0)
    assert [(one.text, one.mark) for one in shown[:2]] == [(PART, "part"), ("س", "")]
    assert written_text("") == ""
