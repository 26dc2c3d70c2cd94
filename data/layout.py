"""Layout of the store. Every path of the project is spelled here, once.

store/
    monosema.sqlite                    what is published (see data/sql/records.py)
    owner.key                          who has it may correct labels (see data/owner.py)
    models/{slug}/                     language models in safetensors, with their tokenizer
    corpora/{slug}/                    the files of a fetched corpus
    saes/{slug}/                       SAEs of others that were fetched, as they were written
    judgements/{key}.jsonl             answers of one judge, by content (see pipeline/judges/cache.py)
    scaling/{key}.json                 one cell of a grid of scaling laws (see pipeline/scaling/cells.py)
    runs/{run}/{stage}/                one artifact with its manifest.json (see data/manifests.py)
    published/{run}/{key}/             one published state, with manifest.json and rows.json (what SQL shall hold of it)
    published/{run}/{key}/lance/       LanceDB tables (see data/published/tables.py)
    published/{run}/{key}/rows/        what pages read by number (see data/published/rows.py)
    published/{run}/{key}/map/         points of the map and their counts (see data/published/maps.py)
    published/{run}/{key}/saes/{sae}/  SAE weights as published: cfg.json, sae.safetensors
"""

import os
from dataclasses import dataclass
from pathlib import Path

STORE_VARIABLE = "MONOSEMA_STORE"
MANIFEST_NAME = "manifest.json"
OWN_ADDRESSES = frozenset(
    (
        *(
            "api",
            "compare",
            "completeness",
            "docs",
            "explore",
            "favicon.ico",
            "healthz",
            "lists",
            "method",
            "neurons",
            "owner",
            "prompt",
        ),
        *("r", "random", "readyz", "scaling", "search", "static", "steer"),
    )
)
"""First parts of addresses that the server has pages of its own at, beside those of models."""


@dataclass(frozen=True)
class RunPaths:
    """The artifacts of one run of a recipe."""

    store: "StorePaths"
    run: str

    @property
    def root(self) -> Path:
        return self.store.root / "runs" / self.run

    def stage(self, name: str) -> Path:
        """The finished artifact of stage `name`."""
        return self.root / name

    def partial(self, name: str) -> Path:
        """The folder in which stage `name` works until it is finished; kept when it is killed, so that it can go on."""
        return self.root / f".{name}.partial"

    def replaced(self, name: str) -> Path:
        """The folder of the earlier artifact for the instant in which a new one takes its place."""
        return self.root / f".{name}.replaced"

    @property
    def receipt(self) -> Path:
        """The file that the last complete run left, by which the next sees at once that there is nothing to do."""
        return self.root / ".complete.json"

    def published(self, key: str) -> Path:
        """The part of this run that the server reads, one folder for each published state."""
        return self.store.published / self.run / key


@dataclass(frozen=True)
class StorePaths:
    """The root of all artifacts."""

    root: Path

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def corpora(self) -> Path:
        return self.root / "corpora"

    @property
    def saes(self) -> Path:
        """Fetched SAEs of others, in their own formats."""
        return self.root / "saes"

    @property
    def judgements(self) -> Path:
        """Answers of judges, which all runs share."""
        return self.root / "judgements"

    @property
    def scaling(self) -> Path:
        """Cells of grids, which all runs share."""
        return self.root / "scaling"

    @property
    def published(self) -> Path:
        return self.root / "published"

    @property
    def database(self) -> Path:
        return self.root / "monosema.sqlite"

    @property
    def owner_key(self) -> Path:
        return self.root / "owner.key"

    def run(self, name: str) -> RunPaths:
        return RunPaths(self, name)


def default_store() -> StorePaths:
    """The store named by MONOSEMA_STORE, or `data/store` beside this file."""
    named = os.environ.get(STORE_VARIABLE)
    return StorePaths(Path(named).expanduser().resolve() if named else Path(__file__).parent / "store")
