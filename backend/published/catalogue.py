"""The catalogue of published runs: every run is opened once, and again when it is published anew.

One small query per request checks whether anything changed; the rest is read only then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock
from typing import Any, TypeVar, cast

from sqlalchemy import Engine, String, func, literal, select
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session, selectinload

from backend.published.corrections import Correction, Corrections, direction_hash
from data import CONTRACT_VERSION
from data.artifacts.corpus import Cutting
from data.hooks import Hook, hook_of
from data.layout import StorePaths
from data.published.maps import MAP_FOLDER, PublishedMap
from data.published.regions import PublishedRegions
from data.published.state import SAES_FOLDER
from data.published.tables import PublishedRun
from data.sql.records import FeatureLabelRecord, PublishedRunRecord, SAERecord

T = TypeVar("T")

Version = tuple[tuple[str, str], ...]
"""Name and key of each run; and with "" for a name, the last change of what owners wrote."""


@dataclass(frozen=True)
class OpenSAE:
    """A published SAE and the run it belongs to."""

    record: SAERecord
    run: "OpenRun"

    @property
    def model(self) -> str:
        return self.record.model

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def num_features(self) -> int:
        return self.record.num_features

    @property
    def href(self) -> str:
        """Address of its page."""
        return f"/{self.model}/{self.name}"

    @property
    def folder(self) -> Path:
        """Its weights: cfg.json and sae.safetensors."""
        return self.run.folder / SAES_FOLDER / self.name

    def row(self, index: int) -> int:
        """The number of a feature in the run's tables."""
        return self.record.first_row + index

    def has(self, index: str) -> bool:
        """Whether a text is the index of a feature of this SAE."""
        return index.isascii() and index.isdigit() and len(index) < 12 and int(index) < self.num_features


@dataclass(frozen=True)
class OpenRun:
    """A published run, its tables open."""

    record: PublishedRunRecord
    folder: Path
    """published/{run}/{key}"""
    cached: dict[Callable[..., Any], Any] = field(default_factory=dict)
    """See `once`, by function."""
    corrections: Corrections = field(default_factory=Corrections, compare=False)
    """What owners of this server wrote about its features."""
    _lock: RLock = field(default_factory=RLock, repr=False, compare=False)
    """One function may ask for another."""

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def model_name(self) -> str:
        """What its language model is called."""
        return self.record.model_name

    @property
    def hook(self) -> Hook:
        """The place at its layer that its SAEs read."""
        return hook_of(self.record.recipe)

    @property
    def cutting(self) -> Cutting:
        """How its documents are cut into what the model reads."""
        return Cutting.of(self.record.corpus["tokenize"])

    @cached_property
    def tables(self) -> PublishedRun:
        """Its tables."""
        return PublishedRun(self.folder)

    @cached_property
    def map(self) -> PublishedMap:
        """Its map, memory-mapped."""
        return PublishedMap(self.folder / MAP_FOLDER)

    @cached_property
    def regions(self) -> PublishedRegions:
        """The names of places on its map."""
        return PublishedRegions(self.folder / MAP_FOLDER)

    @cached_property
    def saes(self) -> tuple[OpenSAE, ...]:
        """Its SAEs in the order of the recipe."""
        return tuple(OpenSAE(record, self) for record in self.record.saes)

    def once(self, function: Callable[["OpenRun"], T]) -> T:
        """The value of a function of this published state, computed once, at first use."""
        with self._lock:
            if function not in self.cached:
                self.cached[function] = function(self)
            return cast(T, self.cached[function])

    @property
    def num_tokens(self) -> int:
        """Tokens that statistics and examples were counted on."""
        return int(self.record.corpus["examples"]["num_tokens"])


@dataclass(frozen=True)
class LeftOutRun:
    """A run that is published but cannot be shown, for it is of another contract version."""

    record: PublishedRunRecord

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def addresses(self) -> set[tuple[str, str]]:
        """Its SAEs by model and name."""
        return {(sae.model, sae.name) for sae in self.record.saes}

    @property
    def reason(self) -> str:
        """A sentence on why it is left out, and the remedy."""
        return f"Run '{self.name}' {self.why}"

    @property
    def why(self) -> str:
        """The same without its subject."""
        found = self.record.contract
        remedy = "run its recipe again" if found < CONTRACT_VERSION else "update the server's code"
        return f"was published under contract version {found}, this server reads version {CONTRACT_VERSION}: {remedy}."


@dataclass(frozen=True)
class Catalogue:
    """All published runs at one moment, the newest first."""

    version: Version
    runs: tuple[OpenRun, ...]
    left_out: tuple[LeftOutRun, ...] = ()
    """Runs of another contract version."""

    @cached_property
    def saes(self) -> dict[tuple[str, str], OpenSAE]:
        """Every SAE by model and name."""
        return {(sae.model, sae.name): sae for run in self.runs for sae in run.saes}


class Library:
    """The published runs of one database and store."""

    def __init__(self, engine: Engine, paths: StorePaths) -> None:
        self._engine, self._paths = engine, paths
        # Compiled once: every request asks.
        revision = sql_cast(func.coalesce(func.max(FeatureLabelRecord.revision), 0), String)
        versions = select(PublishedRunRecord.name, PublishedRunRecord.key).union_all(select(literal(""), revision))
        self._versions = str(versions.compile(engine, compile_kwargs={"literal_binds": True}))
        self._lock = Lock()
        self._catalogue = Catalogue((), ())

    def catalogue(self) -> Catalogue:
        """The runs that are published now."""
        with self._engine.connect() as connection:
            found = connection.exec_driver_sql(self._versions)
            version = tuple(sorted((name, key) for name, key in found))
        with self._lock:
            if version != self._catalogue.version:
                self._catalogue = self._open(version)
            return self._catalogue

    def _open(self, version: Version) -> Catalogue:
        opened = {(run.name, run.record.key): run for run in self._catalogue.runs}
        statement = select(PublishedRunRecord).options(selectinload(PublishedRunRecord.saes))
        with Session(self._engine) as session:
            records = session.scalars(statement.order_by(PublishedRunRecord.created.desc())).all()
            written = session.scalars(select(FeatureLabelRecord).order_by(FeatureLabelRecord.revision)).all()
            session.expunge_all()
        fitting = [record for record in records if record.contract == CONTRACT_VERSION]
        runs = [opened.get((record.name, record.key)) or self._open_run(record) for record in fitting]
        for run in runs:
            _lay_over(run, written)
        left_out = [LeftOutRun(record) for record in records if record.contract != CONTRACT_VERSION]
        return Catalogue(version, tuple(runs), tuple(left_out))

    def _open_run(self, record: PublishedRunRecord) -> OpenRun:
        return OpenRun(record, self._paths.run(record.name).published(record.key))


def _lay_over(run: OpenRun, written: Sequence[FeatureLabelRecord]) -> None:
    """Give a run what owners wrote about its features; what was written of other weights is of an earlier state."""
    saes = {sae.name: sae for sae in run.saes}
    own = [
        record
        for record in written
        if record.model == run.record.model and record.sae in saes and record.index < saes[record.sae].num_features
    ]
    if not own:
        run.corrections.replace({}, {})
        return
    rows = [saes[record.sae].row(record.index) for record in own]
    vectors_ND = run.tables.take("features", rows, ["vector"])["vector"].combine_chunks().flatten().to_numpy()
    current: dict[tuple[str, int], Correction] = {}
    earlier: dict[tuple[str, int], Correction] = {}
    for record, vector_D in zip(own, vectors_ND.reshape(len(own), -1), strict=True):
        found = current if record.direction == direction_hash(vector_D) else earlier
        found[record.sae, record.index] = Correction(record.label, record.note, record.changed)
    run.corrections.replace(current, earlier)
