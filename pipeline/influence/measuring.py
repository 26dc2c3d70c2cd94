"""Responding features: all candidates probed, those of highest probability written, and the best confirmed."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from typing import Any, NamedTuple

from pipeline.influence.candidates import Candidate
from pipeline.influence.responses import Case, Response, Writer
from pipeline.progress import track
from pipeline.recipe import RespondConfig

BEST_OF_AN_OPENING = 2


class Measured(NamedTuple):
    """Everything that was probed and written."""

    probed: Sequence[Case] = ()
    written: Sequence[Response] = ()
    best: Sequence[Response] = ()

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """All of it, as plain JSON."""
        return {
            "probed": [
                {"sae": one.sae, "index": one.index, "word": one.word, "opening": opening, "probability": probability}
                for one, opening, probability in self.probed
            ],
            "written": [response.as_json() for response in self.written],
            "best": [response.as_json() for response in self.best],
        }


def measure(writer: Writer, candidates: Sequence[Candidate], config: RespondConfig) -> Measured:
    """Probe, write, and confirm the best."""
    cases = _probe(writer, candidates, config)
    chosen = [case for opening in config.openings for case in _highest(cases, opening, config.written)]
    written: list[Response] = []
    with track("respond: write", len(chosen) * len(config.strengths), "texts") as progress:
        for responses in writer.measure(chosen, config.strengths):
            written += responses
            progress.advance(len(responses))
    return Measured(cases, written, best(writer, chosen, written, config.openings))


def _probe(writer: Writer, candidates: Sequence[Candidate], config: RespondConfig) -> list[Case]:
    cases: list[Case] = []
    with track("respond: probe", len(candidates) * len(config.openings), "features") as progress:
        for opening in config.openings:
            for some in writer.probe(candidates, opening, min(config.strengths)):
                cases += some
                progress.advance(len(some))
    return cases


def _highest(cases: Iterable[Case], opening: str, count: int) -> list[Case]:
    """The cases after one opening whose word is most probable."""
    of_opening = [case for case in cases if case.opening == opening]
    return sorted(of_opening, key=lambda case: -case.probability)[:count]


def best(writer: Writer, cases: list[Case], written: list[Response], openings: Sequence[str]) -> list[Response]:
    """Up to BEST_OF_AN_OPENING for each opening, each with another word, the least repetitive first; confirmed."""
    case_of = {(case.candidate.sae, case.candidate.index, case.opening): case for case in cases}
    ordered = sorted((one for one in written if one.responds), key=lambda one: (one.baseline_count, -one.distinct))
    words: set[str] = set()

    def confirmed(opening: str) -> Iterator[Response]:
        for one in ordered:
            if one.opening == opening and one.word.casefold() not in words:
                again = writer.confirm(case_of[one.sae, one.index, opening], one.strength)
                if again.responds:
                    words.add(one.word.casefold())
                    yield again

    rounds = list(zip_longest(*[islice(confirmed(opening), BEST_OF_AN_OPENING) for opening in openings]))
    return [one for of_opening in zip(*rounds, strict=True) for one in of_opening if one is not None]
