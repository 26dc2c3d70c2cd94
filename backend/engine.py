"""The language model in memory. All work with it happens on one worker thread, never on the event loop.

Nothing of torch is imported before the first request that needs it, so that a server without the `live` extra, or
without the model's folder, starts and shows everything else; `why_off` says what is missing.
"""

import asyncio
import importlib.util
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from backend.catalogue import OpenRun, OpenSAE
from backend.live import (
    Active,
    Ended,
    EngineOffError,
    Finished,
    Held,
    Prompt,
    Queued,
    Reading,
    RefusedError,
    SteerEvent,
    SteerRequest,
    Written,
)
from backend.settings import Settings
from backend.worker import Call, Job, Worker
from data.errors import MonosemaError

if TYPE_CHECKING:
    from pipeline.models.decoder import Decoder
    from pipeline.models.generate import Position, Reason, Row
    from pipeline.models.language_model import LanguageModel
    from pipeline.models.sae import SAE
    from pipeline.models.tokenizer import Tokenizer

T = TypeVar("T")
NEEDED = ("torch", "transformers", "safetensors")
REMEMBERED = 16
"""Prompts whose activations are kept, so that looking at another token of one costs nothing."""


@dataclass(frozen=True)
class _Loaded:
    """A model in memory, for one run's layer."""

    key: tuple[Path, int]
    model: "LanguageModel"
    tokenizer: "Tokenizer"
    pieces: list[bytes]
    decoder: "Decoder | None"
    """None when this model cannot be written with."""
    no_decoder: str
    """Why."""


class Engine:
    """One model, some SAEs, one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker = Worker(settings.live_queue)
        # Touched by the worker's thread alone.
        self._loaded: _Loaded | None = None
        self._saes: OrderedDict[Path, SAE] = OrderedDict()
        self._readings: OrderedDict[tuple[object, ...], Reading] = OrderedDict()

    def why_off(self, run: OpenRun) -> str:
        """Why prompts and steering are off for a run, and how to turn them on; "" when they are on."""
        if not self._settings.live:
            return "The server was started without its live part (MONOSEMA_LIVE=0)."
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} is not installed here: `pip install 'monosema[live]'` turns the live part on."
        folder = self._folder(run)
        if not (folder / "config.json").is_file():
            return f"The model of this run ({run.record.model_source}) is not on this machine: expected in {folder}."
        return ""

    def prepare(self, run: OpenRun) -> None:
        """Load the model of a run in the background, for a page that will ask soon. Does nothing when all is busy."""
        if not self.why_off(run) and self._loaded is None and self._worker.waiting == 0:
            self._worker.submit(Call(lambda: self._model(run)))

    def stop(self) -> None:
        """End the worker."""
        self._worker.stop()

    async def tokenize(self, run: OpenRun, prompt: Prompt, room: int = 0) -> list[int]:
        """The model's exact tokens, one BOS first.

        Raises RefusedError when the prompt is empty, too long by the settings, or leaves no room for `room` new tokens;
        EngineOffError, Busy.
        """
        return await self._call(run, lambda: self._tokenize(self._model(run), prompt, room))

    async def activations(self, saes: Sequence[OpenSAE], prompt: Prompt) -> Reading:
        """What a prompt activates in some SAEs of one run. Raises as `tokenize` does."""
        return await self._call(saes[0].run, lambda: self._read(saes, prompt))

    async def steer(self, request: SteerRequest) -> AsyncGenerator[SteerEvent]:
        """Write the rows of a request. Whoever stops listening cancels it.

        Raises before the first event: EngineOffError, Busy; RefusedError when this model cannot be steered.
        """
        self._require(request.run)
        events: asyncio.Queue[SteerEvent | Exception] = asyncio.Queue()
        job = _SteerJob(self, request, asyncio.get_running_loop(), events)
        self._worker.submit(job)
        try:
            while True:
                event = await events.get()
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

    async def _call(self, run: OpenRun, function: Callable[[], T]) -> T:
        self._require(run)
        call: Call[T] = Call(function)
        self._worker.submit(call)
        return await asyncio.wrap_future(call.future)

    def _folder(self, run: OpenRun) -> Path:
        """Of the run's model; an absolute source stays as it is."""
        return self._settings.paths.root / run.record.model_source

    # ---- On the worker's thread

    def _model(self, run: OpenRun) -> _Loaded:
        key = (self._folder(run), run.record.layer)
        if self._loaded is None or self._loaded.key != key:
            self._loaded = None  # one model in memory: the former goes before the next comes
            self._readings.clear()
            dtype = run.record.recipe["model"]["dtype"]
            self._loaded = _models_errors(lambda: _load(key, dtype, self._settings.live_device), EngineOffError)
        return self._loaded

    def _sae(self, sae: OpenSAE) -> "SAE":
        from pipeline.models.sae import SAE, load_header

        if sae.folder not in self._saes:
            header = _models_errors(lambda: load_header(sae.folder), EngineOffError)
            needed, limit = 8 * header.num_features * header.width, int(self._settings.live_sae_gb * 1e9)
            if needed > limit:
                raise EngineOffError(
                    f"{sae.name} takes {needed / 1e9:.1f} GB, the server may use {limit / 1e9:.1f}: set "
                    "MONOSEMA_LIVE_SAE_GB higher, or choose a smaller SAE"
                )
            while self._saes and needed + sum(map(_bytes, self._saes.values())) > limit:
                self._saes.popitem(last=False)
            device = self._settings.live_device
            self._saes[sae.folder] = _models_errors(lambda: SAE.load(sae.folder, device), EngineOffError)
        self._saes.move_to_end(sae.folder)
        return self._saes[sae.folder]

    def _tokenize(self, loaded: _Loaded, prompt: Prompt, room: int) -> list[int]:
        tokenizer = loaded.tokenizer
        if not prompt.text.strip():
            raise RefusedError("The prompt is empty: write something for the model to read.")
        if prompt.chat:
            tokens = _models_errors(lambda: tokenizer.chat([{"role": "user", "content": prompt.text}]), RefusedError)
        else:
            tokens = [tokenizer.bos_id, *tokenizer.encode(prompt.text)]
        limit = min(self._settings.max_prompt_tokens, loaded.model.context_length - room)
        if len(tokens) > limit:
            raise RefusedError(f"The prompt has {len(tokens):,} tokens, at most {limit:,} fit here: shorten it.")
        return tokens

    def _read(self, saes: Sequence[OpenSAE], prompt: Prompt) -> Reading:
        loaded = self._model(saes[0].run)
        key = (prompt, *(sae.folder for sae in saes))
        if key not in self._readings:
            self._readings[key] = self._compute(loaded, saes, prompt)
            if len(self._readings) > REMEMBERED:
                self._readings.popitem(last=False)
        self._readings.move_to_end(key)
        return self._readings[key]

    def _compute(self, loaded: _Loaded, saes: Sequence[OpenSAE], prompt: Prompt) -> Reading:
        import torch

        tokens = self._tokenize(loaded, prompt, 0)
        x_LD = loaded.model.residuals(torch.tensor([tokens]))[0].float()
        left_out_L = x_LD.norm(dim=1) > sink_norm(saes[0].run)
        left_out_L[0] = True
        kept_K = torch.nonzero(~left_out_L)[:, 0]
        active = {}
        for sae in saes:
            found = self._sae(sae).encode_sparse(x_LD[kept_K])
            columns = (kept_K[found.token_K], found.feature_K, found.value_K)
            active[sae.name] = Active(*(column.cpu().numpy() for column in columns))
        return Reading(tokens, [loaded.pieces[token] for token in tokens], left_out_L.tolist(), active)

    def write(self, first: "_SteerJob") -> None:
        """Write a request, and with it those that wait for the same run, in one batch."""
        jobs = [first, *self._companions(first)]
        try:
            _models_errors(lambda: self._write(jobs), RefusedError)
        except Exception as error:
            for job in jobs[1:]:
                job.failed(error)
            raise

    def _write(self, jobs: "list[_SteerJob]") -> None:
        from pipeline.models.generate import End, generate

        run = jobs[0].request.run
        loaded = self._model(run)
        rows, owners = [], []
        for job in jobs:
            job.start(loaded)
            rows += [self._row(job.request, held) for held in job.request.rows]
            owners += [(job, row) for row in range(len(job.request.rows))]
        steps = generate(
            _decoder(loaded), rows, sink_norm=sink_norm(run), cancelled=lambda row: owners[row][0].cancelled
        )
        for step in steps:
            for event in step:
                job, row = owners[event.row]
                if isinstance(event, End):
                    job.end(row, event.reason)
                else:
                    job.put(row, event)
            self._worker.run_short()

    def _companions(self, first: "_SteerJob") -> list["_SteerJob"]:
        room = self._settings.live_rows - len(first.request.rows)

        def fits(job: _SteerJob) -> bool:
            nonlocal room
            fitting = job.request.run.folder == first.request.run.folder and len(job.request.rows) <= room
            room -= len(job.request.rows) if fitting else 0
            return fitting

        return self._worker.take(_SteerJob, fits)

    def _row(self, request: SteerRequest, held: Sequence[Held]) -> "Row":
        from pipeline.models.generate import Row, Sampling
        from pipeline.models.steering import Clamp

        draw = request.draw
        sampling = Sampling(draw.temperature, draw.top_p, draw.max_new_tokens, draw.seed)
        return Row(request.tokens, [Clamp(self._sae(one.sae), one.index, one.value) for one in held], sampling)


class _SteerJob(Job):
    """One steering request, which tells its listener on the event loop what happens."""

    def __init__(
        self,
        engine: Engine,
        request: SteerRequest,
        loop: asyncio.AbstractEventLoop,
        events: "asyncio.Queue[SteerEvent | Exception]",
    ) -> None:
        super().__init__()
        self.request = request
        self._engine, self._loop, self._events = engine, loop, events
        self._open = set(range(len(request.rows)))
        self._num_written = 0

    def run(self) -> None:
        self._engine.write(self)

    def start(self, loaded: _Loaded) -> None:
        """The first step comes next."""
        from pipeline.models.generate import Detokeniser

        self._began = time.perf_counter()
        self._texts = [Detokeniser(loaded.pieces) for _ in self.request.rows]

    def put(self, row: int, position: "Position") -> None:
        """A row has read a token."""
        text = self._texts[row].feed(position.token)
        self._num_written += position.probability is not None
        _, token, probability, activations, left_out = position
        self._tell(Written(row, token, text, probability, activations, left_out))

    def end(self, row: int, reason: "Reason") -> None:
        """A row has ended; with the last one the request has."""
        self._tell(Ended(row, reason))
        self._open.discard(row)
        if not self._open:
            self._tell(Finished(time.perf_counter() - self._began, self._num_written))

    def moved(self, ahead: int) -> None:
        self._tell(Queued(ahead))

    def failed(self, error: Exception) -> None:
        self._tell(error)

    def _tell(self, event: SteerEvent | Exception) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)


def sink_norm(run: OpenRun) -> float:
    """The norm above which the harvest left a token out."""
    return float(run.record.corpus["harvest"]["sink_threshold"])


def _load(key: tuple[Path, int], dtype: str, device: str) -> _Loaded:
    from pipeline.models.decoder import Decoder
    from pipeline.models.errors import ModelError
    from pipeline.models.language_model import LanguageModel
    from pipeline.models.tokenizer import Tokenizer

    folder, layer = key
    model, tokenizer = LanguageModel.load(folder, layer=layer, dtype=dtype, device=device), Tokenizer.load(folder)
    pieces = tokenizer.token_bytes(model.vocab_size)
    try:
        return _Loaded(key, model, tokenizer, pieces, Decoder(model), "")
    except ModelError as error:
        return _Loaded(key, model, tokenizer, pieces, None, str(error))


def _decoder(loaded: _Loaded) -> "Decoder":
    if loaded.decoder is None:
        raise RefusedError(loaded.no_decoder)
    return loaded.decoder


def _models_errors(function: Callable[[], T], kind: type[MonosemaError]) -> T:
    """Call into pipeline.models; its errors pass on as errors of a kind that the server knows."""
    from pipeline.models.errors import ModelError

    try:
        return function()
    except ModelError as error:
        raise kind(str(error)) from None


def _bytes(sae: "SAE") -> int:
    return 8 * sae.W_enc_FD.numel()
