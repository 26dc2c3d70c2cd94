"""The interface of the live model for endpoints. All work with it happens on one worker thread, never on the event
loop.

    engine.py        the interface, for the event loop
    messages.py      requests and results, as plain values
    limits.py        the limits of a request
    worker.py        the thread and its queue
    models.py        the model and the SAEs in memory
    reading.py       reading a prompt
    concepts.py      reading prompts that end with concepts
    steer_jobs.py    generating text with features held
    writing.py       generating text without steering
    attributor.py    attributing outputs to features, and features to tokens
    sentences.py     the sentence encoder of search by meaning, on the caller's thread

Only this room imports `pipeline.models` and torch, and only inside functions that run on the worker's thread.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from backend.engine.attributor import Attributor
from backend.engine.concepts import ConceptReader, ConceptsReading
from backend.engine.messages import (
    Changed,
    Chat,
    ChatMessage,
    Draw,
    Finished,
    Fired,
    LikelyToken,
    Outcome,
    Prompt,
    PromptReading,
    Question,
    Started,
    SteerEvent,
    SteerRequest,
    Written,
)
from backend.engine.models import Models
from backend.engine.reading import Reader
from backend.engine.sentences import Sentences
from backend.engine.steer_jobs import SteerJob, Writer
from backend.engine.worker import Call, Stepwise, Worker
from backend.engine.writing import write
from backend.exceptions import EngineOffError, TooSlowError
from backend.published.catalogue import OpenRun, OpenSAE
from backend.settings import Settings
from data.concepts.lists import ConceptList

T = TypeVar("T")


@dataclass(frozen=True)
class EngineStatus:
    """The state of the engine."""

    model: str | None
    """Name of the language model in memory."""
    saes: dict[str, int]
    """Bytes of the SAEs in memory by name; the least recently used is first, and is evicted first."""
    sae_bytes: int
    sae_limit: int
    """Bytes that SAEs may take together."""
    waiting: int
    """Requests that wait."""
    queue: int
    """Requests that may wait."""


class Engine:
    """One model, some SAEs, one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.models = Models(settings)
        self.worker = Worker(settings.live_queue, self.models.room_for)
        self.reader = Reader(settings, self.models)
        self.sentences = Sentences(settings)
        self._attributor = Attributor(self.models, self.reader)
        self._concepts = ConceptReader(self.models)
        self._max_rows = settings.live_rows
        self._writer = Writer(self.models, self.worker, settings.live_rows)

    def why_off(self, run: OpenRun) -> str:
        """The reason why prompts and steering are off for a run, and how to turn them on; "" when they are on."""
        return self.models.why_off(run)

    def is_loaded(self, run: OpenRun) -> bool:
        """Whether the model of a run is in memory, so that an answer does not wait for it."""
        return self.models.holds(run)

    def prepare(self, run: OpenRun) -> None:
        """Load the model of a run in the background, for a page that will need it soon.

        Does nothing when the worker is busy, nor after a failed attempt: only a request for an answer tries again.
        """
        idle = not self.models.holds_a_model and self.worker.waiting == 0
        if idle and not self.why_off(run) and not self.models.failed(run):
            self.worker.submit(Call(lambda: self.models.load(run), self.models.needs(run)))

    def status(self) -> EngineStatus:
        """The models in memory and the length of the queue. From any thread."""
        sizes = self.models.sae_sizes()
        return EngineStatus(
            model=self.models.model_name,
            saes=sizes,
            sae_bytes=sum(sizes.values()),
            sae_limit=int(self._settings.live_sae_gb * 1e9),
            waiting=self.worker.waiting,
            queue=self._settings.live_queue,
        )

    def stop(self) -> None:
        """End the worker."""
        self.worker.stop()

    async def call(self, run: OpenRun, function: Callable[[], T], saes: Sequence[OpenSAE] = ()) -> T:
        """The result of a short function that works with the model of a run and some SAEs, on the worker's thread.

        Raises EngineOffError, BusyError, TooSlowError, and whatever the function raises.
        """
        self._require(run)
        call: Call[T] = Call(function, self.models.needs(run, saes))
        self.worker.submit(call)
        longest = self._settings.live_queue_seconds + self._settings.live_first_token_seconds
        try:
            return await _within(longest, call.future)
        finally:
            call.cancel()  # drops it from the queue if it has not started

    async def steps(self, run: OpenRun, function: Callable[[], Iterator[T | None]], saes: Sequence[OpenSAE] = ()) -> T:
        """The result of a longer function, which yields None after each step and at last its result.

        It is cancelled when the caller stops waiting. Raises as `call` does, and RefusedError when the SAEs do not fit
        into memory together.
        """
        self._require(run)
        self.models.check_room(saes)
        job: Stepwise[T] = Stepwise(self.worker, function, self.models.needs(run, saes))
        self.worker.submit(job)
        longest = self._settings.live_queue_seconds + self._settings.live_run_seconds
        try:
            return await _within(longest, job.future)
        finally:
            job.cancel()

    async def tokenize(self, run: OpenRun, prompt: Prompt, room: int = 0) -> list[int]:
        """The model's exact tokens, one BOS first where the model has one.

        Raises RefusedError when the prompt is empty, too long by the settings, or leaves no room for `room` new tokens;
        EngineOffError, BusyError, TooSlowError.
        """
        return await self.call(run, lambda: self.reader.tokenize(run, prompt, room))

    async def chats(self, run: OpenRun, conversations: Sequence[Sequence[ChatMessage]], room: int = 0) -> list[Chat]:
        """Conversations by the model's chat template, each up to where the assistant answers; `room` as in `tokenize`.

        Each ends with a message of the user. Raises as `tokenize` does, and RefusedError when the model has no chat
        template or its template refuses a conversation.
        """
        return await self.call(run, lambda: [self.reader.chat(run, one, room) for one in conversations])

    async def activations(self, saes: Sequence[OpenSAE], prompt: Prompt) -> PromptReading:
        """The features that a prompt activates in some SAEs of one run. Raises as `tokenize` does."""
        return await self.call(saes[0].run, lambda: self.reader.read(saes, prompt), saes)

    async def concepts(self, sae: OpenSAE, content: ConceptList) -> ConceptsReading:
        """The features of an SAE that are active on prompts that end with a list's concepts. Raises as `steps` does."""
        return await self.steps(sae.run, lambda: self._concepts.read(sae, content), [sae])

    async def values(self, sae: OpenSAE, index: int, tokens: Sequence[int]) -> list[float]:
        """One feature's activation on every token of a text, as the harvest reads it: 0 where a token is left out.

        tokens: the opening one first. Raises as `call` does.
        """
        return await self.call(sae.run, lambda: self.reader.values(sae, index, tokens), [sae])

    async def likely(self, run: OpenRun, prompt: Prompt, position: int | None, limit: int) -> list[LikelyToken]:
        """The most probable tokens after a position of a prompt, None for the last. Raises as `tokenize` does."""
        return await self.call(run, lambda: self._attributor.likely(run, prompt, position, limit))

    async def explain(self, saes: Sequence[OpenSAE], prompt: Prompt, question: Question) -> Outcome:
        """The attribution of a target to each active feature of some SAEs of one run. Raises as `steps` does."""
        return await self.steps(saes[0].run, lambda: self._attributor.explain(saes, prompt, question), saes)

    async def fired(self, sae: OpenSAE, index: int, tokens: Sequence[int]) -> Fired:
        """The tokens that made a feature fire on the last of them; `tokens`: the opening one first."""
        return await self.steps(sae.run, lambda: self._attributor.fired(sae, index, tokens), [sae])

    async def changed(self, sae: OpenSAE, index: int, tokens: Sequence[int], place: int) -> Changed:
        """The effect of a feature on every next token, and the tokens it raises and lowers after the one at `place`.

        tokens: the opening one first, at place 0.
        """
        return await self.steps(sae.run, lambda: self._attributor.changed(sae, index, tokens, place), [sae])

    async def can_chat(self, run: OpenRun) -> bool:
        """Whether the model of a run has a chat template. Raises as `call` does."""
        return await self.call(run, lambda: self.models.load(run).tokenizer.has_chat_template)

    async def write(self, run: OpenRun, asked: Sequence[tuple[Prompt, Draw]]) -> list[str]:
        """The model's unsteered continuation of each prompt, all in one batch. Raises as `tokenize` does."""
        return await self.steps(run, lambda: write(self.reader, run, asked, self._max_rows))

    async def steer(self, request: SteerRequest) -> AsyncGenerator[SteerEvent]:
        """Write the rows of a request. It is cancelled when the caller stops iterating.

        Raises before the first event: EngineOffError, BusyError, RefusedError when its SAEs do not fit into memory;
        later RefusedError when this model cannot be steered so, TooSlowError when a time limit is reached.
        """
        self._require(request.run)
        self.models.check_room(request.saes)
        events: asyncio.Queue[SteerEvent | Exception] = asyncio.Queue()
        job = SteerJob(self._writer, request, asyncio.get_running_loop(), events)
        self.worker.submit(job)
        clock = _Clock(self._settings)
        try:
            while True:
                event = await clock.next(events)
                if isinstance(event, Exception):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            job.cancel()

    def _require(self, run: OpenRun) -> None:
        if reason := self.why_off(run):
            raise EngineOffError(reason)


async def _within(seconds: float, future: Future[T]) -> T:
    """The result of a future. Raises TooSlowError when it does not come in time."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await asyncio.wrap_future(future)
    except TimeoutError:
        if not limit.expired():  # raised by the job itself
            raise
        raise TooSlowError(f"The model did not answer within {seconds:g} seconds: try again later.") from None


class _Clock:
    """The time limits of one steering request: in the queue, to the first token, and as a whole."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._began = time.monotonic()
        self._longest, self._what = settings.live_queue_seconds, "waited for the model"

    async def next(self, events: "asyncio.Queue[SteerEvent | Exception]") -> SteerEvent | Exception:
        """The next event. Raises TooSlowError when it does not come in time."""
        try:
            async with asyncio.timeout(self._longest - (time.monotonic() - self._began)):
                event = await events.get()
        except TimeoutError:
            raise TooSlowError(
                f"This request {self._what} for {self._longest:g} seconds, the longest time allowed: "
                "try again later, or ask for less."
            ) from None
        if isinstance(event, Started):
            self._began = time.monotonic()
            self._longest, self._what = self._settings.live_first_token_seconds, "waited for its first token"
        elif isinstance(event, Written) and event.probability is not None:
            self._longest, self._what = self._settings.live_run_seconds, "ran"
        return event
