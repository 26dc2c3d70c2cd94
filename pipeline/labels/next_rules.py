"""Rules that come next to the label of a feature, for a few features: what else its strongest examples share.

They are ordered by how well each tells where the feature is active in held-out text, every active token counting the
same, for the strengths there are not kept.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import Ints
from pipeline.labels.background import Background
from pipeline.labels.candidates import CandidateMaker
from pipeline.labels.evidence import Evidence, read_evidence
from pipeline.labels.labeller import Labeller
from pipeline.labels.pairs import Active
from pipeline.labels.scoring import Scorer
from pipeline.labels.text import RuleText
from pipeline.labels.words import Words


class WordedRule(NamedTuple):
    """A rule and its words."""

    text: str
    rule: str
    """JSON."""


class NextRules:
    """Finds such rules."""

    def __init__(self, corpus: TokenizedCorpus, words: Words, held_out: Ints, num_bands: int) -> None:
        """held_out: numbers of the sequences by which stage `explain` numbers held-out tokens; num_bands: of interval
        examples."""
        self._corpus, self._words, self._num_bands = corpus, words, num_bands
        text = RuleText(corpus, words, held_out, np.empty(0, np.int64), lambda numbers: np.ones(len(numbers), bool))
        self._labeller = Labeller(CandidateMaker(words, Background(corpus, words)), Scorer(text))

    def find(
        self, examples: pa.Table, active: dict[int, Ints], labels: dict[int, WordedRule], limit: int
    ) -> dict[int, list[WordedRule]]:
        """Up to `limit` rules of each feature, the best first. examples: of these features (EXAMPLES); active: the
        held-out tokens on which each is active; labels: what each is called, which is none of them."""
        maker = self._labeller.maker
        evidence = read_evidence(examples, self._num_bands, self._corpus, self._words, maker.background)
        return {index: self._best(found, active[index], labels[index], limit) for index, found in evidence}

    def _best(self, evidence: Evidence, active: Ints, label: WordedRule, limit: int) -> list[WordedRule]:
        tokens = Active(active, np.ones(len(active), np.float32))
        trial = self._labeller.scorer.trial(tokens, False, 1.0)
        if trial is None:
            return []
        candidates = self._labeller.maker.rules(evidence)
        tried = [(best.score.value, one) for one in candidates if (best := trial.best([one.rule]))]
        tried.sort(key=lambda pair: -pair[0])
        found: list[WordedRule] = []
        seen = {label.text.casefold()}
        for _, one in tried:
            worded = WordedRule(self._labeller.text(one, evidence), one.rule.to_json())
            if len(found) == limit:
                break
            if worded.rule != label.rule and worded.text.casefold() not in seen:
                seen.add(worded.text.casefold())
                found.append(worded)
        return found
