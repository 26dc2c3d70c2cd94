"""The files of candidates for labels."""

from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import pyarrow as pa

from data.arrow import write_arrow
from data.artifacts.candidates import CANDIDATES_FILE, LABEL_CANDIDATES, TRIED, TRIED_FILE
from data.artifacts.corpus import TokenizedCorpus
from pipeline.arrays import unpack_tokens
from pipeline.scores.asking import ScoredSAE
from pipeline.scores.contest import Contest
from pipeline.scores.detection import marked_tokens
from pipeline.scores.sampling import Windows

Row = dict[str, Any]


def write_candidates(
    folder: Path, sae: ScoredSAE, contests: Sequence[Contest], corpus: TokenizedCorpus, num_judges: int,
    decider: int | None, may_name: bool,
) -> None:  # fmt: skip
    """Write candidates.arrow and tried.arrow of one SAE."""
    folder.mkdir(exist_ok=True)
    ordered = sorted(contests, key=lambda contest: sae.features[contest.place].index)
    rows = [
        {"index": sae.features[contest.place].index, **row}
        for contest in ordered
        for row in _candidates(contest, num_judges, decider, may_name)
    ]
    write_arrow(folder / CANDIDATES_FILE, LABEL_CANDIDATES, pa.Table.from_pylist(rows, LABEL_CANDIDATES).to_batches())
    tried = [
        {"index": sae.features[contest.place].index, **row}
        for contest in ordered
        if contest.outcomes
        for row in _tried(sae, contest, corpus)
    ]
    write_arrow(folder / TRIED_FILE, TRIED, pa.Table.from_pylist(tried, TRIED).to_batches())


def _candidates(contest: Contest, num_judges: int, decider: int | None, may_name: bool) -> Iterator[Row]:
    label = contest.label(decider, may_name)
    for number in contest.order(decider):
        one = contest.candidates[number]
        found = [contest.accuracy(judge, number) for judge in range(num_judges)]
        yield {
            "text": one.text,
            "origin": one.origin,
            "proposer": one.proposer,
            "rule": one.rule,
            "is_label": number == label,
            "scores": [accuracy.balanced if accuracy else None for accuracy in found],
            "true_positive": [_rate(accuracy.true_positive) if accuracy else None for accuracy in found],
            "true_negative": [_rate(accuracy.true_negative) if accuracy else None for accuracy in found],
        }


def _rate(rate: float) -> float | None:
    return None if isnan(rate) else rate


def _tried(sae: ScoredSAE, contest: Contest, corpus: TokenizedCorpus) -> Iterator[Row]:
    """The texts of a feature, those in which it is active first."""
    present, absent = marked_tokens(sae.samples, sae.absent, contest.chosen)
    for number, marked in zip(contest.chosen.present_M.tolist(), present, strict=True):
        yield {"active": True, "marked": sorted(marked), **_window(sae.samples.windows, number, corpus)}
    for number, marked in zip(contest.chosen.absent_P.tolist(), absent, strict=True):
        yield {"active": False, "marked": sorted(marked), **_window(sae.absent, number, corpus)}


def _window(windows: Windows, number: int, corpus: TokenizedCorpus) -> Row:
    sequence, _ = unpack_tokens(windows.token_P[number : number + 1])
    start, stop = int(windows.start_P[number]), int(windows.stop_P[number])
    return {"document": int(corpus.sequences["document"][sequence[0]]), "start": start, "length": stop - start}
