"""The language model and the SAEs in memory: one model, and SAEs within a limit, loaded when first asked for.

torch is not imported before the first request that needs it, so that a server without the `live` extra, or
without the model's folder, starts and shows everything else; `Models.why_off` says what is missing.
"""

import importlib.util
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from backend.engine.typed_tokens import TypedTokens
from backend.exceptions import EngineOffError, RefusedError
from backend.published.catalogue import OpenRun, OpenSAE
from backend.settings import Settings
from data.errors import MonosemaError
from data.hooks import Hook

if TYPE_CHECKING:
    from pipeline.models.decoding import AnyDecoder
    from pipeline.models.language_model import LanguageModel
    from pipeline.models.sae import SAE
    from pipeline.models.tokenizer import Tokenizer

T = TypeVar("T")


class ModelKey(NamedTuple):
    """A model in memory."""

    folder: Path
    layer: int
    hook: Hook
    dtype: str
    opening: Literal["bos", "template", "none"]
    """Of texts, as the recipe has it."""

    @property
    def weights(self) -> tuple[Path, str, str]:
        """What runs of several hooks have in common."""
        return self.folder, self.dtype, self.opening


REQUIRED_PACKAGES = ("torch", "transformers", "safetensors")


@dataclass(frozen=True)
class Needs:
    """The model and the SAEs that a job needs in memory."""

    model: ModelKey
    saes: frozenset[tuple[Path, int]]
    """Folder and bytes of each."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory, cut at one run's hook."""

    key: ModelKey
    name: str
    """What the model is called."""
    model: "LanguageModel"
    tokenizer: "Tokenizer"
    pieces: list[bytes]
    """The bytes of every token by id."""
    no_decoder: str
    """The reason why this model cannot generate text; "" when it can."""
    _decoder: "AnyDecoder | None"

    @cached_property
    def typed_tokens(self) -> TypedTokens:
        """The tokens by what people type for them."""
        return TypedTokens(self.pieces)

    def at(self, key: ModelKey) -> "Loaded":
        """The same model for a run that reads another hook of it."""
        from pipeline.models.decoding import move_decoder

        model = self.model.at(key.layer, key.hook)
        decoder = None if self._decoder is None else move_decoder(self._decoder, model)
        return replace(self, key=key, model=model, _decoder=decoder)

    @property
    def decoder(self) -> "AnyDecoder":
        """The model's decoder. Raises RefusedError when the model cannot generate text."""
        if self._decoder is None:
            raise RefusedError(self.no_decoder)
        return self._decoder


class Models:
    """One model and some SAEs. Methods that load are for the worker's thread only."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: Loaded | None = None
        self._failed: ModelKey | None = None
        self._saes: OrderedDict[Path, SAE] = OrderedDict()
        self._held: Counter[Path] = Counter()
        self._limit = int(settings.live_sae_gb * 1e9)

    def folder(self, run: OpenRun) -> Path:
        """The folder of the run's model; an absolute source stays as it is."""
        return self._settings.paths.root / run.record.model_source

    def why_off(self, run: OpenRun) -> str:
        """The reason why prompts and steering are off for a run, and how to turn them on; "" when they are on."""
        if not self._settings.live:
            return "The live model is turned off on this server (MONOSEMA_LIVE=0)."
        missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} is not installed here: `pip install 'monosema[live]'` installs it."
        folder = self.folder(run)
        if not (folder / "config.json").is_file():
            return f"The model of this run ({run.record.model_source}) is not on this machine: expected in {folder}."
        return ""

    @property
    def holds_a_model(self) -> bool:
        """Whether a model is in memory."""
        return self._loaded is not None

    @property
    def model_name(self) -> str | None:
        """Name of the model in memory."""
        loaded = self._loaded
        return None if loaded is None else loaded.name

    def holds(self, run: OpenRun) -> bool:
        """Whether the model of a run is in memory, at its hook or another. From any thread."""
        loaded = self._loaded
        return loaded is not None and loaded.key.weights == self.key(run).weights

    def key(self, run: OpenRun) -> ModelKey:
        """The key under which the model of a run is loaded."""
        recipe = run.record.recipe
        opening = recipe["tokenize"].get("opening", "bos")
        return ModelKey(self.folder(run), run.record.layer, run.hook, recipe["model"]["dtype"], opening)

    def needs(self, run: OpenRun, saes: Iterable[OpenSAE] = ()) -> Needs:
        """The memory needs of work with the model of a run and some of its SAEs."""
        return Needs(self.key(run), frozenset((sae.folder, _size(sae)) for sae in saes))

    def room_for(self, needs: Sequence[Hashable]) -> bool:
        """Whether several jobs (Needs each) fit into memory together: one model, and SAEs within the limit."""
        known = [one for one in needs if isinstance(one, Needs)]
        saes = frozenset[tuple[Path, int]]().union(*(one.saes for one in known))
        return len({one.model for one in known}) == 1 and sum(size for _, size in saes) <= self._limit

    def check_room(self, saes: Sequence[OpenSAE]) -> None:
        """Raise RefusedError when several SAEs that are used at the same time do not fit into memory together."""
        sizes = [_size(sae) for sae in saes]
        if len(saes) > 1 and sum(sizes) > self._limit:
            raise RefusedError(
                f"{', '.join(sae.name for sae in saes)} take {sum(sizes) / 1e9:.1f} GB together, the server may use "
                f"{self._limit / 1e9:.1f}: choose features of fewer or smaller SAEs, or set MONOSEMA_LIVE_SAE_GB higher"
            )

    def failed(self, run: OpenRun) -> bool:
        """Whether the last attempt to load a model was for this run, and failed. From any thread."""
        return self._failed == self.key(run)

    def load(self, run: OpenRun) -> Loaded:
        """The model of a run; another one is dropped first, and the same one at another hook is cut anew.

        Raises EngineOffError when it cannot be loaded.
        """
        key, before = self.key(run), self._loaded
        if before is not None and before.key == key:
            return before
        same = before if before is not None and before.key.weights == key.weights else None
        self._loaded, self._failed, before = None, key, None
        name, device = run.model_name, self._settings.live_device
        self._loaded = models_errors(lambda: same.at(key) if same else _load(key, name, device), EngineOffError)
        self._failed = None
        return self._loaded

    def sae(self, sae: OpenSAE) -> "SAE":
        """An SAE in memory; others are evicted if necessary, the least recently used first. Raises EngineOffError.

        Work that takes several steps must `hold` it.
        """
        from pipeline.models.sae import SAE

        if sae.folder not in self._saes:
            self._make_room(sae)
            device = self._settings.live_device
            self._saes[sae.folder] = models_errors(lambda: SAE.load(sae.folder, device), EngineOffError)
        self._saes.move_to_end(sae.folder)
        return self._saes[sae.folder]

    @contextmanager
    def hold(self, saes: Iterable[OpenSAE]) -> Iterator[None]:
        """SAEs that stay in memory once they are there, as long as the block runs."""
        folders = [sae.folder for sae in saes]
        self._held.update(folders)
        try:
            yield
        finally:
            self._held -= Counter(folders)  # drops the counts of 0

    def _make_room(self, sae: OpenSAE) -> None:
        """Evict SAEs that are not held, the least recently used first, until an SAE fits. Raises EngineOffError."""
        needed = _size(sae)
        if needed > self._limit:
            raise EngineOffError(
                f"{sae.name} takes {needed / 1e9:.1f} GB, the server may use {self._limit / 1e9:.1f}: set "
                "MONOSEMA_LIVE_SAE_GB higher, or choose a smaller SAE"
            )
        loose = [folder for folder in self._saes if folder not in self._held]
        while needed + sum(map(_bytes, self._saes.values())) > self._limit:
            assert loose, "a job was admitted beside SAEs that leave no room for it"
            del self._saes[loose.pop(0)]

    def sae_sizes(self) -> dict[str, int]:
        """Bytes of the SAEs in memory by name. From any thread."""
        return {folder.name: _bytes(sae) for folder, sae in list(self._saes.items())}


def sink_norm(run: OpenRun) -> float:
    """The norm above which the harvest left a token out."""
    return float(run.record.corpus["harvest"]["sink_threshold"])


def models_errors(function: Callable[[], T], kind: type[MonosemaError]) -> T:
    """Call into pipeline.models, and convert its errors to the server's errors of `kind`."""
    from pipeline.models.errors import ModelError

    try:
        return function()
    except ModelError as error:
        raise kind(str(error)) from None


def _load(key: ModelKey, name: str, device: str) -> Loaded:
    from pipeline.models.decoding import make_decoder
    from pipeline.models.errors import ModelError
    from pipeline.models.language_model import LanguageModel
    from pipeline.models.tokenizer import Tokenizer

    model = LanguageModel.load(key.folder, layer=key.layer, hook=key.hook, dtype=key.dtype, device=device)
    tokenizer = Tokenizer.load(key.folder, opening=key.opening)
    pieces = tokenizer.token_bytes(model.vocab_size)
    try:
        return Loaded(key, name, model, tokenizer, pieces, "", make_decoder(model))
    except ModelError as error:
        return Loaded(key, name, model, tokenizer, pieces, str(error), None)


def _bytes(sae: "SAE") -> int:
    return 8 * sae.W_enc_FD.numel()


def _size(sae: OpenSAE) -> int:
    """Bytes that an SAE takes in memory: two matrices of 32-bit numbers."""
    return 8 * sae.num_features * sae.run.tables.width
