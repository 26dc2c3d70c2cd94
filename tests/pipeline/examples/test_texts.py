import pytest

from data.artifacts.corpus import TokenizedCorpus
from pipeline.examples.peaks import Peak
from pipeline.examples.texts import TOKENS_AROUND, ExampleTexts
from tests.support.fakes import make_corpus


@pytest.fixture
def corpus(tmp_path) -> TokenizedCorpus:
    return make_corpus(tmp_path, [list(range(40)), [40, 41]], 64, [])


def test_a_text_stands_around_its_token_and_keeps_to_its_document(corpus):
    vocabulary = [f" w{i}".encode() for i in range(42)]
    texts = ExampleTexts(corpus, vocabulary)
    assert texts.around(1, 0) == " w40 w41"
    assert texts.around(0, 0) == "".join(f" w{i}" for i in range(TOKENS_AROUND))
    assert texts.around(0, 20).split() == [f"w{i}" for i in range(20 - TOKENS_AROUND, 20 + TOKENS_AROUND)]


def test_words_that_are_cut_and_parts_of_characters_are_left_out(corpus):
    vocabulary = [b"ab"] * 42
    vocabulary[16] = b"cut whole"
    vocabulary[20] = b" \xf0\x9f!"
    vocabulary[23] = b" end"
    assert ExampleTexts(corpus, vocabulary).around(0, 20) == "wholeababab !abab"


def test_a_peak_is_the_whole_word_of_its_token_and_the_words_beside_it(corpus):
    vocabulary = [f" w{i}".encode() for i in range(42)]
    vocabulary[19:22] = [b" Hurri", b"cane", b"s,"]
    texts = ExampleTexts(corpus, vocabulary)
    assert texts.peak(0, 20) == Peak("hurricanes", "w18", ",")
    assert texts.peak(0, 21) == Peak(",", "hurricanes", "w22")
    assert texts.peak(1, 0) == Peak("w40", "", "w41")
    vocabulary[30] = b"\n"
    assert texts.peak(0, 30) == Peak("", "", "")


def test_a_text_is_bounded_whatever_its_tokens_are(corpus):
    text = ExampleTexts(corpus, [b"x" * 1000] * 42).around(0, 20)
    assert len(text) < 1200
