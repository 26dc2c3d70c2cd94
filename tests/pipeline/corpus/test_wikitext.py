"""Spacing undone, against sentences as Wikipedia has them."""

import random
from itertools import pairwise

import pytest

from pipeline.corpus.wikitext import _ALWAYS, _LEFT, _RIGHT, _apostrophe, _sign, articles, undo_spacing


@pytest.mark.parametrize(
    ("cut", "whole"),
    [
        ("", ""),
        (" The red @-@ tipped one ( 1 @.@ 5 – 4 @.@ 9 lb ) . ", "The red-tipped one (1.5–4.9 lb)."),
        ("20 @,@ 000 eggs , or more ; 79 % of them : all", "20,000 eggs, or more; 79% of them: all"),
        ('only becoming " lobster red " on cooking .', 'only becoming "lobster red" on cooking.'),
        ('" a " and " b " , " c', '"a" and "b", "c'),
        ("the RAAF 's course didn 't please O 'Brien , they 're", "the RAAF's course didn't please O'Brien, they're"),
        ("since Linnaeus ' concept included crustaceans", "since Linnaeus' concept included crustaceans"),
        ("defined the ' anti @-@ lodgment ' concept", "defined the 'anti-lodgment' concept"),
        ("rock ' n ' roll", "rock 'n' roll"),
        ("the Freewheelin ' sessions", "the Freewheelin' sessions"),
        ("Jr . ' s rendition , and Beyoncé ’ s live", "Jr.'s rendition, and Beyoncé’s live"),
        ("US $ 5 million , $ 25 @,@ 000 or € 3 , a C $ 2 bill", "US$5 million, $25,000 or €3, a C$2 bill"),
        ("57 ° 53 ′ N , 39 ° F ( − 4 ° C )", "57°53′ N, 39 °F (−4 °C)".replace("39 °F", "39°F").replace("4 °C", "4°C")),
        ("a 9 – 0 win – the first – at 7 : 30", "a 9–0 win – the first – at 7:30"),
        ("72 km / h , and / or image / But I", "72 km/h, and/or image / But I"),
        ("R & B and Live & Kicking", "R&B and Live & Kicking"),
        ("Tunnel # 2 in C # Express", "Tunnel #2 in C # Express"),
        ("the Game Boy — Yokoi on 4 × 100 m", "the Game Boy—Yokoi on 4×100 m"),
        ("a [ sic ] and [ ... ] {", "a [sic] and [...] {"),
        ("W \ufeff / 51 @.@ 479557 ; -3.16", "W/51.479557; -3.16"),
    ],
)
def test_undo_spacing(cut: str, whole: str) -> None:
    assert undo_spacing(cut) == whole


def join_naively(line: str) -> str:
    """The same of a line without joints, word by word."""
    words, joins = ["", *line.split(), ""], [(False, False)]
    quoted = is_open = False
    for place in range(1, len(words) - 1):
        before, word, after = words[place - 1 : place + 2]
        if word == '"':
            join, quoted = _LEFT if quoted else _RIGHT, not quoted
        elif word == "'":
            join = _apostrophe(before, after, is_open, more="'" in words[place + 1 :])
            is_open = join == _RIGHT
        else:
            join = (False, False) if word[0].isalnum() else _ALWAYS.get(word) or _sign(word, before, after)
        joins.append(join)
    spaces = ["" if left[1] or right[0] else " " for left, right in pairwise(joins)]
    return "".join(space + word for space, word in zip(spaces, words[1:-1], strict=True)).strip()


SPACED = """a B 7 é ½ us s ll US C S teams ' ' ' " " , . ( ) : – × / & $ # − ° ’ — _ @ ... 's 'til -3 Ⅷ _x ’s 日"""
WORDS, SPACES = SPACED.split(), (" ", " ", "  ", "\t", "\u2009")


@pytest.mark.parametrize("seed", range(5))
def test_any_words_are_joined_as_by_a_naive_reading(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(400):
        line = "".join(rng.choice(SPACES) + rng.choice(WORDS) for _ in range(rng.randrange(12)))
        assert undo_spacing(line) == join_naively(line), line


RAW = """\

 = First =

 Some text , here .
 More text .

 = = Section = =

 = Position ; GP =
 Games played

 = = = Part of it = = =

 Text .


 = Second ( song ) =

 Its text .
"""


def test_articles_begin_at_titles_and_keep_headings_as_lines() -> None:
    lines = [f"{line} " for line in RAW.split("\n")]
    first, second = articles(lines)
    assert first.title == "First"
    assert first.text.split("\n\n") == [
        "First", "Some text, here.", "More text.", "Section", "= Position; GP =", "Games played", "Part of it", "Text.",
    ]  # fmt: skip
    assert second == ("Second (song)", "Second (song)\n\nIts text.")


def test_no_title_no_article() -> None:
    assert list(articles([])) == []
    assert list(articles(["text", "more"])) == []
