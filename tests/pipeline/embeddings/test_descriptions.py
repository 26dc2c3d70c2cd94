from pipeline.embeddings.descriptions import MOST_WORDS, describe
from pipeline.examples.peaks import Peak


def peaks(*words: str) -> list[Peak]:
    return [Peak(word, "the", "of") for word in words]


def test_a_feature_is_described_by_label_peaks_and_contexts() -> None:
    found = describe("storms", peaks("storm", "gale", "gale", ","), ["a b c d the gale e f g h i", "one  two", "third"])
    assert found == "storms. gale storm. b c d the gale e f g h. one two"


def test_words_of_the_label_are_not_said_twice_and_only_the_most_frequent_are() -> None:
    many = [f"word{n}" for n in range(MOST_WORDS + 3)]
    found = describe("word1 and others", peaks(*many, "word0"), [])
    assert found == "word1 and others. word0 word2 word3 word4"


def test_nothing_is_needed() -> None:
    assert describe("", [], []) == ""
    assert describe("", peaks("storm"), ["a", "a"]) == "storm. a"
