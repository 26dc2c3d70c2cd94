import pytest

from backend.html.tokens import LEVELS, PART, highlight, level, token_text, token_texts


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
        ("\u202e".encode(), "\\u202e", ""),
        ("a\u200fb".encode(), "a\\u200fb", ""),
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
