"""Agreement between the examples of a feature: the questions that the rules of labels ask of evidence."""

from collections import Counter
from collections.abc import Sequence
from os.path import commonprefix

from pipeline.labels.evidence import Background, Evidence
from pipeline.labels.wording import MOST_ITEMS
from pipeline.labels.words import NONE, SPACE_NAMES, Words

SAME = 0.6
"""Share of the examples that must agree on words."""
KIND = 0.75
"""Share of the examples that must agree on a kind of word or place."""
LIFT = 4.0
"""Factor by which something must be more common than in the corpus."""
NEIGHBOUR_LIFT = 8.0
NEAR = 0.3
"""Share of the documents in which a word must stand near."""
COMMON = 0.002
"""A word with at least this share of the corpus says little by itself."""


class Agreement:
    """Answers from evidence, against the background of the corpus."""

    def __init__(self, words: Words, background: Background) -> None:
        self.words, self.background = words, background

    def _main(self, surfaces: Sequence[int]) -> tuple[list[int], float]:
        """Words that come more than once, most frequent first, in their usual spelling; and their share together."""
        counts = Counter(self._folded(word) for word in surfaces)
        least = max(2 if len(surfaces) > 3 else 1, 0.12 * len(surfaces))
        folds = [(fold, count) for fold, count in counts.most_common(MOST_ITEMS) if count >= least]
        main = [self._spelling(surfaces, fold) for fold, _ in folds]
        return main, sum(count for _, count in folds) / len(surfaces)

    def _fixed(self, surfaces: Sequence[int]) -> int:
        """The neighbour that nearly all share beyond chance, or NONE."""
        main, _ = self._main(surfaces)
        if not main or not self._text(main[0])[-1:].isalnum() or self._text(main[0]) in SPACE_NAMES:
            return NONE
        fold = self._folded(main[0])
        share = self._share(surfaces, main[0])
        return main[0] if share >= SAME and share > LIFT * self.background.share(fold) else NONE

    def _same_piece(self, evidence: Evidence) -> tuple[str, float]:
        """The text of the token that most of the peaks are, when it is only part of most of their words; its share."""
        pieces = [self.words.piece(token) for token in evidence.pieces]
        piece, count = Counter(pieces).most_common(1)[0]
        whole = sum(piece == self._text(word) for word in evidence.words)
        return (piece, count / len(pieces)) if count >= SAME * len(pieces) and whole < count / 2 else ("", 0.0)

    def _samples(self, surfaces: Sequence[int], limit: int = MOST_ITEMS) -> list[str]:
        """Distinct words, the most frequent first, else the strongest first."""
        counts = Counter(self._folded(word) for word in surfaces if word != NONE)
        return [self._text(self._spelling(surfaces, fold)) for fold, _ in counts.most_common(limit)]

    def _beside(self, evidence: Evidence) -> tuple[str, float]:
        """`after "a", "the"`: the few words that most often stand on one side, beyond chance; and their share."""
        found = [("", 0.0)]
        for place, sides in (("after", evidence.before), ("before", evidence.after)):
            main, share = self._main(sides)
            usual = sum(self.background.share(self._folded(word)) for word in main)
            if NONE not in main and len(main) <= 3 and share >= SAME and share > NEIGHBOUR_LIFT * usual:
                found.append((f"{place} {', '.join(self._marked(word) for word in main)}", share))
        return max(found, key=lambda pair: pair[1])

    def _near_items(self, evidence: Evidence) -> tuple[list[str], float]:
        """Words near the peak in enough of the documents (one alone says too little); the largest of their shares."""
        near = [(self.words.folded_texts[fold], share) for fold, share in evidence.near if share >= NEAR]
        return ([text for text, _ in near], max(share for _, share in near)) if len(near) > 1 else ([], 0.0)

    def _share(self, surfaces: Sequence[int], word: int) -> float:
        """Share of the words that are this one, in any spelling."""
        fold = self._folded(word)
        return sum(self._folded(other) == fold for other in surfaces) / len(surfaces)

    def _are_names(self, evidence: Evidence) -> bool:
        return self._beyond_chance(evidence.traits, "name", lift=2.0)

    def _beyond_chance(self, traits: dict[str, float], name: str, lift: float = LIFT) -> bool:
        return traits[name] >= KIND and traits[name] > lift * self.background.traits[name]

    def _alike(self, fold: int, other: int) -> bool:
        """Whether two words are forms of one, roughly: they begin alike, by four letters and more than half of both."""
        texts = [self.words.folded_texts[word] for word in (fold, other)]
        shared = len(commonprefix(texts))  # noqa: RUF071 - these are words, not paths
        return fold == other or (shared >= 4 and shared >= 0.55 * max(map(len, texts)) and "".join(texts).isalpha())

    def _says_little(self, word: int) -> bool:
        return not self._text(word)[:1].isalnum() or self.background.share(self._folded(word)) >= COMMON

    def _spelling(self, surfaces: Sequence[int], fold: int) -> int:
        """The most frequent spelling of a folded word."""
        return Counter(word for word in surfaces if self._folded(word) == fold).most_common(1)[0][0]

    def _folded(self, word: int) -> int:
        return self.words.folded[word]

    def _text(self, word: int) -> str:
        return self.words.texts[word]

    def _quoted(self, word: int) -> str:
        """A word as a part of a sentence: what would not be recognised as a word in it stands in quotation marks."""
        text = self._text(word)
        return text if text.isalnum() and not self._says_little(word) else self._marked(word)

    def _marked(self, word: int) -> str:
        """A word in quotation marks; white space by its name."""
        text = self._text(word)
        mark = "'" if '"' in text else '"'
        return text if text in SPACE_NAMES else f"{mark}{text}{mark}"
