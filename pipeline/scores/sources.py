"""Candidates for labels, before any is tried: from rules, from promoted tokens, and what judges are shown for theirs.

Shapes: C features that are looked at, N examples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.candidates import JUDGE, NO_JUDGE, OTHER_RULE, PROMOTED, RULE
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.effects import EFFECTS_FILE
from data.artifacts.features import EXAMPLES_FILE, EXPLANATIONS_FILE, HELD_OUT_FILE, STATISTICS_FILE
from pipeline.arrays import Ints
from pipeline.labels.next_rules import NextRules, WordedRule
from pipeline.labels.wording import fit, unique
from pipeline.scores.shown import NextTokens, Row, ShownTexts

OTHER_RULES = 2
"""Rules beside the label that are candidates; of a feature without a label one more."""


class LabelCandidate(NamedTuple):
    """A label that a feature may have."""

    text: str
    origin: int
    """Number in ORIGINS."""
    proposer: int = NO_JUDGE
    rule: str = ""


@dataclass(frozen=True)
class Sources:
    """What is known of one feature before judges are asked."""

    found: list[LabelCandidate]
    """The label from statistics first, if there is one."""
    shown: str
    """What judges that write labels are shown."""
    document_N: Ints
    """Of all examples, from which candidates are made."""
    position_N: Ints

    def with_proposals(self, proposals: Mapping[int, str | None]) -> list[LabelCandidate]:
        """All candidates, each text once; proposals: labels that judges wrote, by their number."""
        written = [LabelCandidate(text, JUDGE, judge) for judge, text in proposals.items() if text]
        distinct: dict[str, LabelCandidate] = {}
        for one in sorted([*self.found, *written], key=lambda candidate: candidate.origin):
            distinct.setdefault(one.text.casefold(), one)
        return list(distinct.values())


class SourceReader:
    """Reads sources from the artifacts of a run."""

    def __init__(
        self, folders: Mapping[str, Path], corpus: TokenizedCorpus, vocabulary: Sequence[bytes], rules: NextRules
    ) -> None:
        """folders: of the stages."""
        self._folders, self._vocabulary, self._rules = folders, vocabulary, rules
        self._texts = ShownTexts(corpus, vocabulary)

    def read(self, sae: str, indices: Sequence[int]) -> list[Sources]:
        """The sources of some features of an SAE, in their order."""
        examples = self._examples(sae, indices)
        explanations = self._rows("explain", sae, EXPLANATIONS_FILE, indices)
        labels = {
            index: WordedRule(row["label"], row["label_rule"]) for index, row in zip(indices, explanations, strict=True)
        }
        rules = self._next_rules(sae, examples, labels)
        effects = self._rows("effects", sae, EFFECTS_FILE, indices)
        statistics = self._rows("examples", sae, STATISTICS_FILE, indices)
        found = []
        for index, explained, changed, counted in zip(indices, explanations, effects, statistics, strict=True):
            own = examples[index]
            tokens = NextTokens(changed["raised"], changed["lowered"], True)
            if not changed["num_measured"]:
                tokens = NextTokens(explained["promoted"], explained["suppressed"], False)
            rows = own.to_pylist()
            candidates = list(_found(labels[index], rules.get(index, []), self._promoted(explained["promoted"])))
            shown = self._texts.write(rows, counted["max"], tokens)
            places = (own[name].to_numpy().astype(np.int64) for name in ("document", "position"))
            found.append(Sources(candidates, shown, *places))
        return found

    def _next_rules(
        self, sae: str, examples: Mapping[int, pa.Table], labels: dict[int, WordedRule]
    ) -> dict[int, list[WordedRule]]:
        held_out = read_arrow(self._folders["explain"] / sae / HELD_OUT_FILE)["tokens"]
        active = {index: np.array(held_out[index].as_py(), np.int64) for index in labels}
        if not labels:
            return {}
        together = pa.concat_tables([examples[index] for index in sorted(labels)])
        return self._rules.find(together, active, labels, OTHER_RULES + 1)

    def _examples(self, sae: str, indices: Sequence[int]) -> dict[int, pa.Table]:
        """The examples of each feature."""
        table = read_arrow(self._folders["examples"] / sae / EXAMPLES_FILE)
        bounds = np.searchsorted(table["index"].to_numpy(), np.array([[i, i + 1] for i in indices]).reshape(-1, 2))
        return {i: table.slice(low, high - low) for i, (low, high) in zip(indices, bounds.tolist(), strict=True)}

    def _rows(self, stage: str, sae: str, file: str, indices: Sequence[int]) -> list[Row]:
        rows: list[Row] = read_arrow(self._folders[stage] / sae / file).take(pa.array(indices, pa.int64())).to_pylist()
        return rows

    def _promoted(self, tokens: Sequence[int]) -> str:
        """Promoted tokens that begin words; "" where there are none."""
        texts = [self._vocabulary[token].decode(errors="ignore") for token in tokens]
        words = [text[1:] for text in texts if text.startswith(" ") and text[1:].isalpha()]
        return fit("", unique(word for word in words if len(word) > 1))


def _found(label: WordedRule, rules: Sequence[WordedRule], promoted: str) -> Iterator[LabelCandidate]:
    if label.text:
        yield LabelCandidate(label.text, RULE, rule=label.rule)
    for rule in rules[: OTHER_RULES if label.text else OTHER_RULES + 1]:
        yield LabelCandidate(rule.text, OTHER_RULE, rule=rule.rule)
    if promoted:
        yield LabelCandidate(promoted, PROMOTED)
