"""Settings of the server: one class, read from MONOSEMA_* variables, or given to `create_app`."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from data.layout import StorePaths, default_store
from data.owner import owner_key
from data.sql.database import database_url


class Settings(BaseSettings):
    """Everything about the server that may differ from one machine to the next."""

    model_config = SettingsConfigDict(env_prefix="MONOSEMA_", frozen=True, extra="ignore")

    store: Path = Field(default_factory=lambda: default_store().root)
    """Folder of all artifacts, see data/layout.py."""
    database_url: str | None = None
    """SQLAlchemy URL; None is SQLite inside the store."""
    live: bool = True
    """Whether the language model is loaded for prompts and steering (it needs the `live` extra and memory)."""
    live_device: str = "cpu"
    """The model's device: "cpu", "cuda", "cuda:N" or "mps". Never chosen automatically."""
    live_sae_gb: Annotated[float, Field(gt=0)] = 4.0
    """Memory for SAEs in use, in GB; the least recently used is evicted first."""
    live_queue: Annotated[int, Field(gt=0)] = 16
    """Requests that may wait for the model."""
    live_rows: Annotated[int, Field(ge=8)] = 16
    """Texts written at the same time, in one batch; a sweep has 8."""
    live_queue_seconds: Annotated[float, Field(gt=0)] = 120
    """Longest time that a request waits for the model."""
    live_first_token_seconds: Annotated[float, Field(gt=0)] = 60
    """Longest time from there to its first token."""
    live_run_seconds: Annotated[float, Field(gt=0)] = 300
    """Longest time that it runs as a whole."""
    live_grace_seconds: Annotated[float, Field(ge=0)] = 5
    """Time after which a request without listeners is cancelled."""
    live_per_address: Annotated[int, Field(ge=2)] = 8
    """Steering requests that may be open at once from one network address, by all people behind it."""
    trusted_proxies: str = ""
    """Network addresses, with commas between, whose X-Forwarded-For names the client and whose X-Forwarded-Proto says
    whether it came by https; "10.0.0.0/8" is a whole network, "*" is any address."""
    root_path: str = ""
    """Path under which browsers have this server, when a proxy serves it below one of its own: "/proxy/8000". The proxy
    may take the path away from what it passes on, or leave it."""
    max_prompt_tokens: Annotated[int, Field(gt=0)] = 512
    """Longest prompt that the live pages take."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 128
    """Most tokens that one steering request may generate."""

    max_stored_prompts: Annotated[int, Field(ge=0)] = 20_000
    """Prompts too long for an address that are kept, in SQL; 0 keeps none."""
    max_results: Annotated[int, Field(ge=0)] = 20_000
    """Finished steerings that are kept, in SQL, up to about 1 MB each; with all places taken no more are kept."""
    max_lists: Annotated[int, Field(ge=0)] = 20_000
    """Lists of features that are kept, in SQL."""
    max_labels: Annotated[int, Field(ge=0)] = 20_000
    """Labels and notes of owners that are kept, in SQL."""
    max_concept_lists: Annotated[int, Field(ge=0)] = 5_000
    """Uploaded lists of concepts that are kept, in SQL."""
    max_verdicts: Annotated[int, Field(ge=0)] = 50_000
    """Verdicts of owners on concepts that are kept, in SQL."""
    owner_key: str | None = None
    """Who has it may correct labels; None is the key in the store, which is made at first start."""
    trusted_hosts: str = ""
    """Names, with commas between, under which the server may be asked beside localhost and any network address; "*" is
    any name. A name that somebody else controls could be made to point here, see backend/web/middleware.py."""

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, path: str) -> str:
        path = path.rstrip("/")
        if re.fullmatch(r"(/([A-Za-z0-9._~@:+-]|%[0-9A-Fa-f]{2})+)*", path) is None or "/." in path:
            raise ValueError(
                f"'{path}' is no path as the address bar shows it before Monosema's own: write it like /proxy/8000, "
                "without the host"
            )
        return path

    @property
    def paths(self) -> StorePaths:
        """The store's layout."""
        return StorePaths(self.store)

    def find_owner_key(self) -> str:
        """The key of this server's owners."""
        return self.owner_key or owner_key(self.paths)

    @property
    def sql_url(self) -> str:
        """The database to use."""
        return self.database_url or database_url(self.paths)
