"""Candidates for labels in a run: judges propose some, and those that can be trusted try all of them.

Shapes: M samples, P windows without features.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from data.artifacts.candidates import RULE, CandidateReport
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.scores import JudgeReport
from pipeline.judges.proposing import Proposal, ProposalCache, Proposer
from pipeline.judges.protocol import Judge
from pipeline.judges.tasks import DETECTION, TASKS
from pipeline.progress import log, track
from pipeline.recipe.judging import JudgeConfig
from pipeline.scores.asking import Interview, Item, ScoredFeature, ScoredSAE
from pipeline.scores.choosing import share_of
from pipeline.scores.contest import Contest, may_name, outcome_of
from pipeline.scores.detection import ExampleTexts, LabelledText
from pipeline.scores.sources import Sources
from pipeline.scores.texts import WindowTexts
from pipeline.scores.unseen import unseen_windows

Tried = tuple[Contest, list[list[LabelledText]]]
"""A contest, and the texts of each of its candidates."""


class Entrants(NamedTuple):
    """The features of one SAE whose candidates are tried."""

    sae: ScoredSAE
    sources: list[Sources]
    """Of each feature, in their order."""


class Naming:
    """Collects candidates and has them tried."""

    def __init__(
        self, entrants: Sequence[Entrants], corpus: TokenizedCorpus, texts: WindowTexts, count: int, seed: int
    ) -> None:
        """count: texts with a feature, and without, on which its candidates are tried."""
        self._entrants = entrants
        self._makers = [ExampleTexts(texts, one.sae.samples, one.sae.absent) for one in entrants]
        self._corpus, self._count, self._seed = corpus, count, seed
        self._proposals: dict[int, list[list[str | None]]] = {}

    def propose(self, number: int, config: JudgeConfig, judge: Judge, folder: Path) -> list[Proposal]:
        """Ask a judge for labels, as far as the recipe says; what it answered. folder: where answers are kept."""
        asked = [one.sources[: self._num_proposals(config, place)] for place, one in enumerate(self._entrants)]
        shown = [sources.shown for some in asked for sources in some]
        if not shown or not isinstance(judge, Proposer):
            return []
        with track(f"{config.title}: labels", len(shown), "labels") as progress:
            proposals, usage = ProposalCache(folder, judge).ask(shown, progress.advance)
        if usage.kept:
            log(f"{config.title}: {usage.kept:,} of these labels were kept from before")
        labels = iter(proposal.label for proposal in proposals)
        self._proposals[number] = [[next(labels) for _ in some] for some in asked]
        return proposals

    def _num_proposals(self, config: JudgeConfig, place: int) -> int:
        count = len(self._entrants[place].sources)
        wanted = config.num_proposals
        return count if wanted is None else min(count, share_of(wanted, len(self._entrants), place))

    def contests(self) -> list[list[Contest]]:
        """The candidates of all features, none tried yet."""
        return [self._of_sae(place) for place in range(len(self._entrants))]

    def _of_sae(self, number: int) -> list[Contest]:
        sae, sources = self._entrants[number]
        contests = []
        for place, source in enumerate(sources):
            written = {
                judge: by_sae[number][place] for judge, by_sae in self._proposals.items() if place < len(by_sae[number])
            }
            examples = source.document_N, source.position_N, self._corpus
            usable_R = unseen_windows(self._makers[number].windows(place), *examples)
            absent_P = sae.is_absent_PC[:, place] & unseen_windows(sae.absent, *examples)
            chosen = self._makers[number].choose(place, self._count, absent_P, self._seed, usable_R)
            contests.append(Contest(place, source.with_proposals(written), chosen))
        return contests

    def try_all(self, number: int, interview: Interview, contests: Sequence[Sequence[Contest]], task: str) -> bool:
        """Let a judge try all candidates at a task, if it can be trusted there; whether it did."""
        if task not in interview.trust or not interview.trust[task].tells:
            return False
        held = [
            (place, contest)
            for place, some in enumerate(contests)
            for contest in some
            if contest.can_be_held and interview.judges(contest.place, place, len(contests))
        ]
        total = sum(len(c.candidates) * (len(c.chosen.present_M) + len(c.chosen.absent_P)) for _, c in held)
        for (contest, by_candidate), answers in interview.ask_each(
            self._asked(held, task), total, f"candidates, {task}"
        ):
            said = iter(answers)
            contest.outcomes[number] = [outcome_of(texts, [next(said) for _ in texts]) for texts in by_candidate]
        return bool(held)

    def _asked(self, held: Iterable[tuple[int, Contest]], task: str) -> Iterator[Item[Tried]]:
        """Each contest with the texts of its candidates, and all questions about these."""
        for place, contest in held:
            by_candidate = self._texts(place, contest, task)
            yield (contest, by_candidate), [text.question for texts in by_candidate for text in texts]

    def _texts(self, place: int, contest: Contest, task: str) -> list[list[LabelledText]]:
        """The questions about each candidate of a feature."""
        maker = self._makers[place]
        make = maker.detection if TASKS[task] is DETECTION else maker.fuzzing
        return [make(one.text, one.rule, contest.chosen) for one in contest.candidates]


def under_won_labels(
    saes: Sequence[ScoredSAE], contests: Sequence[Sequence[Contest]], decider: int | None, *, may_name: bool
) -> list[ScoredSAE]:
    """The SAEs with the labels that candidates won in place of others.

    What had no label keeps none, for it is not scored.
    """
    named = []
    for sae, some in zip(saes, contests or [[] for _ in saes], strict=True):
        features = list(sae.features)
        for contest in some:
            number, one = contest.label(decider, may_name), features[contest.place]
            if number is not None and one.label and contest.candidates[number].origin != RULE:
                won = contest.candidates[number]
                features[contest.place] = ScoredFeature(one.index, won.text, won.rule)
        named.append(replace(sae, features=features))
    return named


def report_on(
    judge: JudgeReport | None, task: str, judges: list[str], decider: int | None,
    contests: Sequence[Sequence[Contest]],
) -> CandidateReport:  # fmt: skip
    """How candidates were tried. judge: the one that decides, whose number is `decider`; None where none does."""
    every = [contest for some in contests for contest in some]
    sure = judge is not None and may_name(judge)
    named = [contest for contest in every if contest.label(decider, sure) not in (None, contest.label(None, False))]
    return CandidateReport(task, judges, "" if judge is None else judge.name, sure, len(every), len(named))
