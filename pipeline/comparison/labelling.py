"""Labels of what is compared, made as stage `explain` makes those of features, from the text that was read alone.

Examples of the training text (the strongest, and some of every band) are what rules are made from; held-out text is
what they are tried on. Whoever has no rule that tells enough to be a label gets the best there is all the same: it is
how well that one does that is compared.

Shapes: C drawn, M examples, E examples shown of each.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import TOP
from pipeline.arrays import Floats, Ints, unpack_tokens
from pipeline.comparison.drawing import Drawn
from pipeline.comparison.reading import ReadText
from pipeline.examples.passes import search_again
from pipeline.examples.selection import Candidates, FeatureSelection, join
from pipeline.labels.activity import Activity
from pipeline.labels.background import Background
from pipeline.labels.candidates import CandidateMaker
from pipeline.labels.evidence import Evidence, read_evidence
from pipeline.labels.fresh import FreshText, evidence_contexts
from pipeline.labels.labeller import Labeller
from pipeline.labels.pairs import Active
from pipeline.labels.scoring import Scorer
from pipeline.labels.text import RuleText
from pipeline.labels.words import Words
from pipeline.recipe import ExamplesConfig
from pipeline.scores.sampling import windows_around

NO_SEQUENCES: Ints = np.empty(0, np.int64)
NO_CANDIDATES = Candidates(
    *(np.empty(0, type_) for type_ in (np.int64, np.int8, np.int8, np.int64, np.float32))  # type: ignore[arg-type]
)


class Label(NamedTuple):
    """The best rule of a feature or neuron."""

    text: str = ""
    """"" where no rule fits at all."""
    rule: str = ""
    fit: float = 0.0
    """The harmonic mean of its precision and strong recall on held-out text."""
    telling: bool = False
    """Whether it tells enough to be the label of a feature."""


class Examples(NamedTuple):
    """What a group is active on in the training text."""

    table: pa.Table
    """Columns of data.artifacts.features.EXAMPLES; `index` is the place among those drawn."""
    max_C: Floats


def find_examples(drawn: Drawn, text: ReadText, corpus: TokenizedCorpus, config: ExamplesConfig) -> Examples:
    """Examples of a group, by the definitions of stage `examples`."""
    if len(drawn.place_C) == 0:
        return Examples(_table(drawn, NO_CANDIDATES, corpus, config.context), np.empty(0, np.float32))
    config = config.model_copy(update={"dtype": "float32"})
    x_ND = drawn.x(text)

    def read(title: str) -> Iterator[tuple[Tensor, Ints]]:
        return ((x_ND[rows], text.token_N[rows]) for rows in text.slices())

    selection = FeatureSelection(drawn.sae, config, corpus)
    for x_BD, token_B in read(""):
        selection.add(x_BD, token_B)
    one, several = {drawn.name: drawn.sae}, {drawn.name: selection}
    intervals, tops = search_again(one, several, corpus, config, read, lambda said: None)
    found = join([selection.candidates(tops.get(drawn.name)), intervals[drawn.name].candidates()])
    return Examples(_table(drawn, found, corpus, config.context), selection.statistics().max_F[drawn.place_C])


def _table(drawn: Drawn, found: Candidates, corpus: TokenizedCorpus, context: int) -> pa.Table:
    """Sorted by index and kind, the strongest first."""
    found = found.take(np.isin(found.feature_M, drawn.place_C))
    found = found.take(np.lexsort((-found.pre_M, found.kind_M, found.feature_M)))
    sequence_M, position_M = unpack_tokens(found.token_M)
    windows = windows_around(found.token_M, corpus, context)
    return pa.table(
        {
            "index": np.searchsorted(drawn.place_C, found.feature_M),
            "kind": found.kind_M,
            "band": found.band_M,
            "sequence": sequence_M,
            "document": corpus.sequences["document"][sequence_M],
            "position": position_M,
            "start": windows.start_P,
            "length": windows.stop_P - windows.start_P,
            "activation": found.pre_M,
        }
    )


class HeldOut:
    """The held-out text, indexed by word: without copies of what rules are made from."""

    def __init__(
        self, text: ReadText, numbers_S: Ints, corpus: TokenizedCorpus, words: Words, examples: Sequence[Examples]
    ) -> None:
        """numbers_S: its sequences, ascending; examples: of all groups."""
        sequence_N, position_N = unpack_tokens(text.token_N)
        known = evidence_contexts(corpus, (one.table for one in examples), np.ones(len(corpus.documents), bool))
        document_N = corpus.sequences["document"][sequence_N].astype(np.int64)
        self._rows_K = FreshText(corpus, known).places(document_N, position_N)
        lengths_S = corpus.sequences["length"][numbers_S].astype(np.int64)
        first_S = np.full(len(corpus.sequences), -1, np.int64)
        first_S[numbers_S] = np.cumsum(lengths_S) - lengths_S
        number_N = first_S[sequence_N] + position_N - corpus.sequences["start"][sequence_N]
        self._number_K = number_N[self._rows_K]
        counted = np.sort(self._number_K)
        self._text = text
        self.rules = RuleText(corpus, words, numbers_S, NO_SEQUENCES, lambda numbers: np.isin(numbers, counted))

    def activity(self, drawn: Drawn) -> Activity:
        """What a group is active on."""
        activity = Activity(drawn.sae)
        activity.add(drawn.x(self._text)[torch.from_numpy(self._rows_K)], self._number_K)
        return activity


def label_all(
    groups: Sequence[Drawn], examples: Sequence[Examples], held_out: HeldOut, corpus: TokenizedCorpus, words: Words,
    num_bands: int,
) -> list[list[Label]]:  # fmt: skip
    """A label for each that was drawn, by group."""
    background = Background(corpus, words)
    labeller = Labeller(CandidateMaker(words, background), Scorer(held_out.rules))
    labels = []
    for drawn, some in zip(groups, examples, strict=True):
        evidence = dict(read_evidence(some.table, num_bands, corpus, words, background))
        activity = held_out.activity(drawn).finish()
        labels.append(
            [
                _label(labeller, evidence.get(number), activity.of(place), float(some.max_C[number]))
                for number, place in enumerate(drawn.place_C.tolist())
            ]
        )
    return labels


def _label(labeller: Labeller, evidence: Evidence | None, active: Active, maximum: float) -> Label:
    found = labeller.label(evidence, active, maximum, rare=False)
    if found.tried is None or evidence is None:
        return Label()
    text = found.text or labeller.word(found.tried.rule, evidence)
    return Label(text, found.tried.rule.to_json(), found.tried.score.value, found.text != "")


class Shown(NamedTuple):
    """The strongest examples of one that was drawn, the strongest first [E]."""

    document_E: Ints
    position_E: Ints
    start_E: Ints
    activation_E: Floats
    values: list[list[float]]
    """Of every token of each window; 0 where one was left out."""


def shown_examples(
    drawn: Drawn, examples: Examples, text: ReadText, corpus: TokenizedCorpus, context: int, limit: int
) -> list[Shown]:
    """The examples that pages show of each."""
    table = examples.table.filter(pa.array(examples.table["kind"].to_numpy() == TOP))
    index_M = table["index"].to_numpy()
    found = []
    for number in range(len(drawn.place_C)):
        low, high = np.searchsorted(index_M, (number, number + 1)).tolist()
        found.append(_shown(drawn, number, table.slice(low, min(limit, high - low)), text, corpus, context))
    return found


def _shown(drawn: Drawn, number: int, top: pa.Table, text: ReadText, corpus: TokenizedCorpus, context: int) -> Shown:
    sequence_E, position_E = (top[name].to_numpy().astype(np.int64) for name in ("sequence", "position"))
    windows = windows_around((sequence_E << 32) | position_E, corpus, context)
    place = torch.tensor([drawn.place_C[number]])
    values = []
    for sequence, start, stop in zip(
        sequence_E.tolist(), windows.start_P.tolist(), windows.stop_P.tolist(), strict=True
    ):
        row_W = text.rows((sequence << 32) | np.arange(start, stop))
        x_WD = drawn.x(text)[torch.from_numpy(np.maximum(row_W, 0))]
        value_W = drawn.sae.encode(x_WD.to(drawn.sae.device), place.to(drawn.sae.device))[:, 0].cpu().numpy()
        values.append(np.where(row_W < 0, 0, value_W).tolist())
    activation_E = top["activation"].to_numpy()
    return Shown(top["document"].to_numpy(), position_E, windows.start_P, activation_E, values)
