"""Finished steering: immutable results, each under an address that its request determines.

The same request to the same published run has the same address, so it is written once and read from then on.
"""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel
from sqlalchemy import Engine

from backend.engine.messages import Ended, Finished, Reason, Scope, SteerEvent, SteeringMode, Written
from backend.published.catalogue import OpenRun
from backend.steering.plan import Plan, Turn, steered_value
from backend.storage import ContentStore, content_id
from data.hooks import RESID_POST, Hook, hook_briefly
from data.sql.records import SteeringRecord

ENDINGS: dict[Reason, str] = {
    "stop": "The model ended its text.",
    "length": "",
    "cancelled": "Stopped.",
    "broken": "The model's output is no longer finite under these strengths: use weaker ones.",
}
"""In words; "" when the text has the length that was asked for."""


def said_of(ending: Reason, note: str) -> str:
    """What is said below a text."""
    return " ".join(part for part in (ENDINGS[ending], note) if part)


class SteeredFeatureResult(BaseModel):
    """A steered feature as it was then."""

    name: str
    """model/sae/index"""
    label: str
    sae: str
    index: int
    max: float
    """Highest activation on the corpus."""
    strength: float | None
    """Times its max; None when it was only measured."""
    value: float | None
    """The same in the residual stream's units."""


class TokenResult(BaseModel):
    """One token of a text."""

    token: int
    text: str
    probability: float | None
    """At temperature 1; None in the prompt."""
    activations: list[float | None]
    """Of the features, in their order, after what is done to them; None where it is not finite."""
    left_out: bool


class RowResult(BaseModel):
    """One text."""

    title: str
    strength: float | None
    """Of all its features, in a sweep."""
    ending: Reason
    tokens: list[TokenResult]
    note: str = ""
    """What the run had measured of texts at such strengths, if they break there."""

    @property
    def said(self) -> str:
        """Below the text: the reason why it ended, and the note."""
        return said_of(self.ending, self.note)

    @property
    def given(self) -> str:
        """The text that the model went on from, by its tokens: BOS included, where the model has one."""
        return "".join(token.text for token in self.tokens if token.probability is None)

    @property
    def written(self) -> str:
        """The text, exactly as it was written."""
        return "".join(token.text for token in self.tokens if token.probability is not None)


class SteeringResult(BaseModel):
    """Everything about one steering."""

    format: Literal[1, 2] = 2
    """2: chats have turns and a system prompt, and comparisons the strengths that were asked for."""
    id: str
    created: datetime
    """UTC"""
    run: str
    key: str
    """Of the publish artifact: two results with the same key come from the same weights."""
    model: str
    """The language model's part of addresses."""
    model_name: str = ""
    """What it is called; "" in results of earlier versions."""
    layer: int
    hook: Hook = RESID_POST
    """The place at the layer at which features were held."""
    features: list[SteeredFeatureResult]
    mode: SteeringMode
    scope: Scope
    sweep: bool
    prompt: str
    chat: bool
    history: list[Turn] = []
    """What was said before the prompt, in a chat."""
    system: str = ""
    """What the chat template says to the model before the first message."""
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    rows: list[RowResult]
    seconds: float
    num_tokens: int

    @property
    def href(self) -> str:
        """Its address."""
        return f"/r/{self.id}"

    @property
    def place(self) -> str:
        """Where features were held, e.g. "layer 14"."""
        return hook_briefly(self.layer, self.hook)

    def turn(self) -> Turn | None:
        """The prompt of a chat and the answers to it, as others go on from them; None where there is no such pair."""
        if not self.chat or len(self.rows) != 2:
            return None
        baseline, steered = (row.written for row in self.rows)
        return Turn(message=self.prompt, baseline=baseline, steered=steered)

    def is_of(self, runs: Sequence[OpenRun]) -> bool:
        """Whether the run is still published as it was."""
        return any((run.name, run.record.key) == (self.run, self.key) for run in runs)


class Collector:
    """Builds a result from the events of a request."""

    def __init__(self, plan: Plan, system: str = "") -> None:
        """system: what the chat template says before the first message."""
        self._plan, self._system = plan, system
        self._tokens: list[list[TokenResult]] = [[] for _ in plan.rows]
        self._endings: dict[int, Reason] = {}

    def add(self, event: SteerEvent) -> SteeringResult | None:
        """The result, once the last event has come and no row was cancelled."""
        if isinstance(event, Written):
            self._tokens[event.row].append(token_result(event))
        elif isinstance(event, Ended):
            self._endings[event.row] = event.reason
        elif isinstance(event, Finished) and "cancelled" not in self._endings.values():
            return self._result(event)
        return None

    def said(self, ended: Ended) -> str:
        """What is said below a text that has ended."""
        return said_of(ended.reason, self._plan.rows[ended.row].note)

    def _result(self, finished: Finished) -> SteeringResult:
        plan, draw = self._plan, self._plan.draw
        rows = [
            RowResult(
                title=row.title, strength=row.strength, ending=self._endings[number], tokens=self._tokens[number],
                note=row.note,
            )
            for number, row in enumerate(plan.rows)
        ]  # fmt: skip
        features = [
            SteeredFeatureResult(
                name=chip.feature.name, label=chip.feature.title, sae=chip.feature.sae, index=chip.feature.index,
                max=chip.feature.max, strength=chip.strength, value=steered_value(chip, None, plan.mode),
            )
            for chip in plan.chips
        ]  # fmt: skip
        return SteeringResult(
            id=result_id(plan), created=datetime.now(UTC), run=plan.run.name, key=plan.run.record.key,
            model=plan.run.record.model, model_name=plan.run.model_name, layer=plan.run.record.layer,
            hook=plan.run.hook, features=features, mode=plan.mode, scope=plan.scope, sweep=bool(plan.strengths),
            prompt=plan.prompt.text, chat=plan.prompt.chat, history=plan.history, system=self._system,
            temperature=draw.temperature, top_p=draw.top_p, max_new_tokens=draw.max_new_tokens, seed=draw.seed,
            rows=rows, seconds=round(finished.seconds, 3), num_tokens=finished.num_tokens,
        )  # fmt: skip


def token_result(event: Written) -> TokenResult:
    """A token as it is stored and sent: six significant digits, and None for numbers that JSON lacks."""
    return TokenResult(
        token=event.token,
        text=event.text,
        probability=None if event.probability is None else _rounded(event.probability),
        activations=[_rounded(value) for value in event.activations],
        left_out=event.left_out,
    )


class Results:
    """The results in SQL."""

    def __init__(self, engine: Engine, limit: int) -> None:
        """limit: the largest number of results that are kept."""
        self._store = ContentStore(
            engine, SteeringRecord, RESULT_ID_LENGTH, limit, "steering results", "MONOSEMA_MAX_RESULTS"
        )

    def find(self, id_: str) -> SteeringResult | None:
        """A result, or None."""
        record = self._store.get(id_)
        return None if record is None else SteeringResult.model_validate(record.content)

    def keep(self, result: SteeringResult) -> None:
        """Store a result; the first one under an address stays. Raises StoreFullError."""
        created, content = result.created.replace(tzinfo=None), result.model_dump(mode="json")
        self._store.add(result.id, lambda: SteeringRecord(id=result.id, created=created, content=content))


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


FORMAT = 2
"""Version of the content; part of the id."""
RESULT_ID_LENGTH = 20


def result_id(plan: Plan) -> str:
    """The id of a plan's result: a hash of everything that determines it."""
    draw = plan.draw
    settings = [
        FORMAT, plan.run.name, plan.run.record.key, [[chip.feature.name, chip.strength] for chip in plan.chips],
        plan.mode, plan.scope, plan.strengths, plan.prompt.text, plan.prompt.chat,
        [[turn.message, turn.baseline, turn.steered] for turn in plan.history],
        draw.temperature, draw.top_p, draw.max_new_tokens, draw.seed,
    ]  # fmt: skip
    return content_id(json.dumps(settings, allow_nan=False).encode(), RESULT_ID_LENGTH)
