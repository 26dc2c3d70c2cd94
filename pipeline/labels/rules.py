"""A first label for a feature: what its strongest tokens and their contexts share, in a few words.

Rules are tried in order and the first that has enough evidence speaks, from the most to the least specific:

    University                  the same word, or one of a few (was / were)
    "of" in "University of"     the same word with a fixed neighbour
    "," after a year            a word that says little by itself, with what stands beside it or near it
    years: 1980, 1991           words of one kind
    -ed: played, moved          words with one stem, piece or ending
    the start of a sentence     a kind of place
    before "of": city, part     words with the same neighbour
    near: war, army, battle     words that stand near in unlikely many of the documents
    names: Smith, London
    → the, of                   what the feature promotes, when these are words
    burned, fire, …             some of the words

A share among examples counts only when it is well above the share in the corpus at large (see evidence.Background).

A label's score is the share of the examples that its rule found to fit. A label in two parts (a word and what stands
beside or near it) has the smaller of their two shares; "near" has the largest share among its words, of documents.
What a feature promotes says nothing of examples and has no score.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.labels.agreement import KIND, LIFT, SAME, Agreement
from pipeline.labels.evidence import Background, Evidence, affixes_of
from pipeline.labels.wording import MAX_LENGTH, MOST_ITEMS, cut, fit, join_words, unique
from pipeline.labels.words import Words

KIND_NAMES = {"year": ("years", "a year"), "number": ("numbers", "a number"), "name": ("names", "a name")}
PLACES = {
    "text start": "the start of a text",
    "line start": "the start of a line",
    "sentence start": "the start of a sentence",
    "in brackets": "inside brackets",
    "in quotation marks": "inside quotation marks",
}


class Label(NamedTuple):
    """The name of a feature."""

    text: str
    """At most MAX_LENGTH characters, never empty."""
    score: float | None
    """Share of the examples that it fits, see the top of this file; None when it says nothing of them."""


class Labeller(Agreement):
    """Makes labels from evidence."""

    def __init__(self, words: Words, background: Background) -> None:
        super().__init__(words, background)
        self._rules: tuple[Callable[[Evidence], Label | None], ...] = (
            self._same_word,
            self._kind,
            self._same_stem,
            self._piece,
            self._affix,
            self._place,
            self._neighbour,
            self._near,
            self._names,
        )

    def label(self, evidence: Evidence | None, promoted: Sequence[int]) -> Label:
        """The label of a live feature; `promoted` are token ids."""
        if evidence is not None:
            for rule in self._rules:
                if found := rule(evidence):
                    return found
        said = unique(self.words.piece(token) for token in promoted)
        known = [text for text in said[:MOST_ITEMS] if text.isalpha() and self.background.knows(text)]
        if len(known) >= min(3, len(said)):
            return Label(fit("→ ", known), None)
        return (self._mixed(evidence) if evidence is not None else None) or Label(fit("→ ", said), None)

    def _same_word(self, evidence: Evidence) -> Label | None:
        main, coverage = self._main(evidence.words)
        if coverage < SAME:
            return None
        share = self._share(evidence.words, main[0])
        if share < SAME:
            return Label(fit("", [self._text(word) for word in main], " / "), coverage)
        plain = Label(cut(self._quoted(main[0])), share)
        return self._phrase(evidence, main[0]) or self._common(evidence, main[0], share) or plain

    def _phrase(self, evidence: Evidence, word: int) -> Label | None:
        """`"of" in "University of"`: the word and a fixed neighbour."""
        here = [i for i, other in enumerate(evidence.words) if self._folded(other) == self._folded(word)]
        before = self._fixed([evidence.before[i] for i in here])
        after = self._fixed([evidence.after[i] for i in here])
        if len(here) < 3 or not (before or after):
            return None
        phrase = join_words([self._text(part) for part in (before, word, after) if part])
        text = f'{self._marked(word)} in "{phrase}"'
        sides = [(part, words) for part, words in ((before, evidence.before), (after, evidence.after)) if part]
        fitting = [i for i in here if all(self._folded(words[i]) == self._folded(part) for part, words in sides)]
        return Label(text if len(text) <= MAX_LENGTH else cut(f'"{phrase}"'), len(fitting) / len(evidence.words))

    def _common(self, evidence: Evidence, word: int, share: float) -> Label | None:
        """`"the" near: war, army`: a word that says little by itself, with what stands beside or near it."""
        if not self._says_little(word):
            return None
        for place, traits in (("after", evidence.traits_before), ("before", evidence.traits_after)):
            for kind, (_, one) in KIND_NAMES.items():
                if self._beyond_chance(traits, kind):
                    return Label(f"{self._quoted(word)} {place} {one}", min(share, traits[kind]))
        near, of_documents = self._near_items(evidence)
        if near:
            return Label(fit(f"{self._quoted(word)} near: ", near), min(share, of_documents))
        beside, of_examples = self._beside(evidence)
        return Label(f"{self._quoted(word)} {beside}", min(share, of_examples)) if beside else None

    def _kind(self, evidence: Evidence) -> Label | None:
        """`years: 1980, 1991`, `"7" in numbers: 17, 74`, `space before years: 1980, 1991`."""
        kind = next((k for k in ("year", "number") if self._beyond_chance(evidence.traits, k)), None)
        if kind is None:
            return None
        many, samples, share = KIND_NAMES[kind][0], self._samples(evidence.words), evidence.traits[kind]
        piece, of_piece = self._same_piece(evidence)
        if piece == "space":
            return Label(fit(f"space before {many}: ", samples), min(share, of_piece))
        if piece:
            return Label(fit(f'"{piece}" in {many}: ', samples), min(share, of_piece))
        return Label(fit(f"{many}: ", samples), share)

    def _same_stem(self, evidence: Evidence) -> Label | None:
        """`broken / breaking`: words that begin alike."""
        common = [fold for fold, _ in Counter(map(self._folded, evidence.words)).most_common(3)]
        families = [[word for word in evidence.words if self._alike(self._folded(word), fold)] for fold in common]
        family = max(families, key=len)
        share = len(family) / len(evidence.words)
        return Label(fit("", self._samples(family, 2), " / "), share) if share >= SAME else None

    def _piece(self, evidence: Evidence) -> Label | None:
        """`-ville: Nashville, Knoxville`: the same piece of different words."""
        piece, share = self._same_piece(evidence)
        if piece == "space":
            return Label(fit("space before: ", self._samples(evidence.words)), share)
        if not piece.isalpha():
            return None
        fold = piece.casefold()
        holders = [word for word in evidence.words if fold in self.words.folded_texts[self._folded(word)]]
        texts = [self.words.folded_texts[self._folded(word)] for word in holders]
        first = "" if all(text.startswith(fold) for text in texts) else "-"
        last = "" if all(text.endswith(fold) for text in texts) else "-"
        return Label(fit(f"{first}{piece}{last}: ", self._samples(holders)), share)

    def _affix(self, evidence: Evidence) -> Label | None:
        """`-ed: played, moved`: different words that end, or begin, in the same letters."""
        texts = {fold: self.words.folded_texts[fold] for fold in map(self._folded, evidence.words)}
        counts = Counter(affix for text in texts.values() for affix in affixes_of(text))
        if len(texts) < 5 or not counts:
            return None
        # Of several that most words have, the longest says most.
        shared = [affix for affix, count in counts.items() if count >= KIND * len(texts)]
        affix = max(shared, key=lambda affix: (len(affix), counts[affix], affix), default="")
        usual = self.background.affixes[affix] / max(self.background.num_words, 1)
        if not affix or counts[affix] <= LIFT * usual * len(texts):
            return None
        fitting = [word for word in evidence.words if affix in affixes_of(texts[self._folded(word)])]
        return Label(fit(f"{affix}: ", self._samples(fitting)), len(fitting) / len(evidence.words))

    def _place(self, evidence: Evidence) -> Label | None:
        place = next((name for name in PLACES if self._beyond_chance(evidence.traits, name)), None)
        if place is None:
            return None
        return Label(fit(f"{PLACES[place]}: ", self._samples(evidence.words, 2)), evidence.traits[place])

    def _neighbour(self, evidence: Evidence) -> Label | None:
        """`before "of"`, `after "a", "the"`: the words differ, what stands beside them does not."""
        beside, share = self._beside(evidence)
        return Label(fit(f"{beside}: ", self._samples(evidence.words)), share) if share >= SAME else None

    def _near(self, evidence: Evidence) -> Label | None:
        near, share = self._near_items(evidence)
        if not near:
            return None
        if not self._are_names(evidence):
            return Label(fit("near: ", near), share)
        return Label(fit("names near: ", near), min(share, evidence.traits["name"]))

    def _names(self, evidence: Evidence) -> Label | None:
        names = [word for word in evidence.words if self._text(word)[:1].isupper()]
        if not self._are_names(evidence):
            return None
        return Label(fit("names: ", self._samples(names)), evidence.traits["name"])

    def _mixed(self, evidence: Evidence) -> Label | None:
        """`episode, series, …`: some of the words, when nothing else is to be said."""
        said: list[int] = []
        for fold, _ in Counter(map(self._folded, evidence.words)).most_common():
            if self.words.folded_texts[fold][:1].isalnum() and not any(self._alike(fold, other) for other in said):
                said.append(fold)
        words = [self._spelling(evidence.words, fold) for fold in said[:3]]
        score = sum(self._share(evidence.words, word) for word in words)
        return Label(fit("", map(self._text, words), end=", …"), score) if words else None
