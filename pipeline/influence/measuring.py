"""Responding features, by a funnel: all candidates are probed, those of most effect write short texts, the best of
these write at every strength after every opening, and the best of all is what pages show.

1. `probe`: along what the model says by itself after the first opening, the mean closeness of the next token to the
   feature's evidence when the feature is held, against when it is not. Layers after N alone, so hundreds are cheap.
2. `try`: the `tried` of highest gain write short texts after the first opening, at two strengths; those first whose
   label says one of their words, for only these are shown.
3. `write`: the `written` whose short texts are best write at every strength after every chat, half of them after every
   plain opening.
4. `show`: up to BEST_CHATS and BEST_OPENINGS, the best first, each about another word, which its feature's label says.
   A text is the same in any company (see pipeline/models/decoder.py), so the server writes each again to the letter.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from torch import Tensor

from data.artifacts.responses import BaselineText, Demonstration, Responses
from pipeline.influence.candidates import Candidate
from pipeline.influence.closeness import Closeness, mean_closeness
from pipeline.influence.evidence import words_of
from pipeline.influence.responses import RULE, Baseline, Response, best_of
from pipeline.influence.writing import Hold, Opening, Text, Writer
from pipeline.progress import track
from pipeline.recipe.influence import RespondConfig

BEST_CHATS, BEST_OPENINGS = 6, 3
PROBED_TOKENS = 6
PROBED_CHOICES = 32
"""Most probable tokens that count at each place of a probe."""
NUM_WORDS = 12
"""Words of the evidence that are shown."""
TELLING = 4
"""Two features are about the same when the most telling word of one is among so many of the other."""


@dataclass
class Measured:
    """Everything that was probed and written."""

    probed: list[tuple[Candidate, float]] = field(default_factory=list)
    """Every candidate and its gain: first those that are named, then by the highest gain."""
    tried: list[Response] = field(default_factory=list)
    written: list[Response] = field(default_factory=list)
    chats: list[Demonstration] = field(default_factory=list)
    openings: list[Demonstration] = field(default_factory=list)

    def as_json(self, why_none: str | None) -> dict[str, Any]:
        """All of it, as plain JSON: see data.artifacts.responses."""
        best = [best_of(group) for texts in (self.tried, self.written) for group in _grouped(texts, _feature)]
        responding = {
            one.feature: one for one in best if one is not None
        }  # a longer text counts instead of a short one
        shown = Responses(
            why_none,
            len(self.probed),
            len(_grouped(self.tried, _feature)),
            len(responding),
            "" if why_none else RULE,
            tuple(self.chats),
            tuple(self.openings),
        )
        strengths: dict[str, dict[str, float]] = {}
        for (sae, index), one in responding.items():
            strengths.setdefault(sae, {})[str(index)] = one.strength
        return {
            "shown": shown.as_json(),
            "best_strengths": strengths,
            "probed": [{"sae": one.sae, "index": one.index, "gain": gain} for one, gain in self.probed],
            "measured": [_as_json(one) for one in (*self.tried, *self.written)],
        }


class Funnel:
    """One measurement."""

    def __init__(
        self, writer: Writer, closeness: Closeness, openings: Sequence[Opening], config: RespondConfig
    ) -> None:
        """openings: at least one; the first is that of probes and short texts."""
        self._writer, self._closeness, self._config = writer, closeness, config
        self._openings, self._first = openings, openings[0]
        self._baselines: dict[tuple[Opening, int], Baseline] = {}

    def measure(self, candidates: Sequence[Candidate]) -> Measured:
        """Probe, try, write, and choose the best."""
        config, measured = self._config, Measured()
        measured.probed = sorted(self._probe(candidates), key=lambda pair: (not pair[0].is_named, -pair[1]))
        tried = [one for one, _ in measured.probed[: config.tried]]
        measured.tried = self._write("try", tried, [self._first], config.tried_strengths, config.tried_tokens)
        chosen = _best_features(measured.tried, config.written)
        for chat, some in ((True, chosen), (False, chosen[: -(-len(chosen) // 2)])):
            openings = [opening for opening in self._openings if opening.chat is chat]
            measured.written += self._write("write", some, openings, config.strengths, config.new_tokens)
        for shown, chat, limit in ((measured.chats, True, BEST_CHATS), (measured.openings, False, BEST_OPENINGS)):
            shown += self._show([one for one in measured.written if one.opening.chat is chat], limit)
        return measured

    def _probe(self, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, float]]:
        """Every candidate with its gain."""
        said = self._baseline(self._first, self._config.new_tokens).text.tokens[:PROBED_TOKENS]
        with track("respond: probe", len(candidates), "features") as progress:
            plain_TV = self._writer.follow(self._first, said)
            for some, follow_BTV in self._writer.probe(candidates, self._first, said, self._config.tried_strengths[0]):
                for one, follow_TV in zip(some, follow_BTV, strict=True):
                    yield one, self._expected(follow_TV, one) - self._expected(plain_TV, one)
                progress.advance(len(some))

    def _expected(self, follow_TV: Tensor, candidate: Candidate) -> float:
        """Mean closeness of the next token to a candidate's evidence."""
        most = follow_TV.topk(min(PROBED_CHOICES, follow_TV.shape[1]), dim=1)
        close_N = self._closeness.of_tokens(most.indices.flatten(), candidate.evidence)
        return float((most.values * close_N.view_as(most.values)).sum(1).mean())

    def _write(
        self,
        name: str,
        candidates: Sequence[Candidate],
        openings: Sequence[Opening],
        strengths: Sequence[float],
        new_tokens: int,
    ) -> list[Response]:
        """Write and judge a text of every candidate after every opening at every strength."""
        holds = [Hold(opening, one, s) for opening, one, s in product(openings, candidates, strengths)]
        found: list[Response] = []
        with track(f"respond: {name}", len(holds), "texts") as progress:
            for texts in self._writer.write(holds, new_tokens):
                batch = holds[len(found) : len(found) + len(texts)]
                judged = [self._judge(hold, text, new_tokens) for hold, text in zip(batch, texts, strict=True)]
                found += self._with_readings(judged, lambda one: one.is_promising)
                progress.advance(len(texts))
        return found

    def _judge(self, hold: Hold, text: Text, new_tokens: int) -> Response:
        """A text beside its baseline, not yet read."""
        baseline = self._baseline(hold.opening, new_tokens)
        by_word = self._closeness.by_word(text.text, hold.candidate.evidence)
        moved = mean_closeness(by_word) - self._closeness.of_text(baseline.text.text, hold.candidate.evidence)
        return Response(hold.opening, hold.candidate, hold.strength, text, baseline, moved, by_word)

    def _with_readings(
        self, responses: Sequence[Response], wanted: Callable[[Response], bool] = lambda one: True
    ) -> list[Response]:
        """The same, with the readings that are wanted and not yet known."""
        asked = [one for one in responses if one.reading is None and wanted(one)]
        found = iter(self._writer.read([(one.opening, one.text) for one in asked]))
        asked_for = set(map(id, asked))
        return [replace(one, reading=next(found)) if id(one) in asked_for else one for one in responses]

    def _baseline(self, opening: Opening, new_tokens: int) -> Baseline:
        """What the model writes by itself; all openings' texts are written together."""
        if (opening, new_tokens) not in self._baselines:
            texts = self._writer.write_together(self._openings, new_tokens)
            pairs = list(zip(self._openings, texts, strict=True))
            known = {chat: _words([text for one, text in pairs if one.chat is chat]) for chat in (True, False)}
            for (one, text), reading in zip(pairs, self._writer.read(pairs), strict=True):
                self._baselines[one, new_tokens] = Baseline(text, reading, known[one.chat])
        return self._baselines[opening, new_tokens]

    def _show(self, responses: Sequence[Response], limit: int) -> list[Demonstration]:
        """Up to `limit` features, named and each about something else, after the opening where each does best."""
        named = [one for one in responses if one.candidate.is_named]
        groups = _grouped(named, lambda one: (one.feature, one.opening))
        found = [(best, group) for group in groups if (best := best_of(group))]
        shown: list[Demonstration] = []
        for best, group in sorted(found, key=lambda pair: -pair[0].score):
            if len(shown) == limit:
                break
            if not any(_alike(best.candidate.evidence.words, one.words) for one in shown):
                shown.append(self._demonstrate(best, group))
        return shown

    def _demonstrate(self, best: Response, group: list[Response]) -> Demonstration:
        """All texts of one feature after one opening."""
        one, texts = best.candidate, sorted(self._with_readings(group), key=lambda one: one.strength)
        return Demonstration(
            sae=one.sae,
            index=one.index,
            label=one.label,
            words=one.evidence.words[:NUM_WORDS],
            opening=best.opening.text,
            chat=best.opening.chat,
            new_tokens=self._config.new_tokens,
            baseline=BaselineText(best.baseline.text.text, best.baseline.reading.perplexity),
            texts=tuple(text.as_text() for text in texts),
            best_strength=best.strength,
        )


def _grouped(responses: Iterable[Response], key: Callable[[Response], Any]) -> list[list[Response]]:
    """Responses with the same key together, in the order of the first of each."""
    groups: dict[Any, list[Response]] = {}
    for one in responses:
        groups.setdefault(key(one), []).append(one)
    return list(groups.values())


def _best_features(tried: Sequence[Response], count: int) -> list[Candidate]:
    """Up to `count` candidates with the best short texts, each about something else; those that can be shown first."""

    def rank(one: Response) -> tuple[bool, float]:
        return one.responds, one.score

    best = sorted((max(group, key=rank) for group in _grouped(tried, _feature)), key=rank, reverse=True)
    return _all_different([one.candidate for one in best])[:count]


def _all_different(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that are not about the same as an earlier one."""
    chosen: list[Candidate] = []
    for one in candidates:
        if not any(_alike(one.evidence.words, other.evidence.words) for other in chosen):
            chosen.append(one)
    return chosen


def _alike(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether the most telling word of one is among the TELLING most telling of the other."""
    return first[0] in second[:TELLING] or second[0] in first[:TELLING]


def _words(texts: Sequence[Text]) -> frozenset[str]:
    return frozenset(word for text in texts for word in words_of(text.text))


def _feature(one: Response) -> tuple[str, int]:
    return one.feature


def _as_json(one: Response) -> dict[str, Any]:
    return {
        "sae": one.candidate.sae,
        "index": one.candidate.index,
        "opening": one.opening.text,
        "chat": one.opening.chat,
        "strength": one.strength,
        "text": one.text.text,
        "ending": one.text.ending,
        "moved": one.moved,
        "fresh": one.fresh,
        "surprise": one.surprise,
        "perplexity": one.reading.perplexity if one.reading else None,
        "first_loss": one.reading.first_loss if one.reading else None,
        "responds": one.responds,
        "score": one.score,
    }
