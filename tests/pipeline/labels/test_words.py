"""Words of tokens in the scripts of the world, from tokens that are whole characters and from parts of them."""

import numpy as np
import pytest

from pipeline.labels.words import Words, printable


def words_of(*tokens: bytes) -> list[str]:
    """The words of some tokens in a row, each once."""
    words = Words(tokens)
    found = words.windows(np.arange(len(tokens))[None])
    firsts = dict.fromkeys(found.first_WL[0].tolist())
    return [words.texts[found.surface_WL[0, first]] for first in firsts]


def pieces(text: str) -> list[bytes]:
    """The tokens of a text whose cuts are written as |."""
    return [piece.encode() for piece in text.split("|")]


def cut_bytes(text: str) -> list[bytes]:
    """Tokens of a byte-level tokenizer that knows no more of a script than its first two bytes."""
    parts = [character.encode() for character in text]
    return [part for data in parts for part in ((data[:2], data[2:]) if len(data) > 2 else (data,))]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ("من| می|\u200c|خوا|هم| بروم", ["من", "می\u200cخواهم", "بروم"]),
        (" کتاب\u200c|ها", ["کتاب\u200cها"]),
        ("我|喜欢|北京|。", ["我", "喜欢", "北京", "。"]),
        ("ฉัน|รัก|ประเทศ|ไทย", ["ฉัน", "รัก", "ประเทศ", "ไทย"]),
        ("ก|\u0e31|น", ["กั", "น"]),
        ("ខ្ញុំ|ចេះ| ភាសា", ["ខ្ញុំ", "ចេះ", "ភាសា"]),
        (" caf|e|\u0301|s| noir", ["cafe\u0301s", "noir"]),
        ("हिन्|दी| में", ["हिन्दी", "में"]),
        ("Hurri|cane|,| the", ["Hurricane", ",", "the"]),
        ("\n|\u0301|a", ["line break", "\u0301a"]),
        ("東京| 2020|年", ["東京", "2020", "年"]),
    ],
)
def test_words_of_whole_tokens(tokens, expected):
    assert words_of(*pieces(tokens)) == expected


def test_parts_of_characters_make_characters_and_no_sentences_where_there_are_no_spaces():
    assert words_of(*cut_bytes("ไทย中国")) == ["ไ", "ท", "ย", "中", "国"]
    assert words_of(*cut_bytes("हिन्दी")) == ["हिन्दी"]
    assert words_of(*[bytes([byte]) for byte in "中国".encode()]) == ["中", "国"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" می\u200cخواهم", "می\u200cخواهم"),
        ("\u200c", "zero width non-joiner"),
        ("\u00a0", "space"),
        ("a\u202eb", "ab"),
        ("\x07", "control character"),
        ("\u202e", "right-to-left override"),
        ("👩‍🚀", "👩‍🚀"),
    ],
)
def test_a_name_keeps_the_joiners_inside_of_it(text, name):
    assert printable(text.encode()) == name
