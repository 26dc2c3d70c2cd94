"""SAEs of the Hub: the folder in a repository is fetched alone and once, and what is refused leaves nothing behind."""

import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import errors

from data.errors import FormatError
from data.layout import StorePaths
from pipeline.formats.places import ensure_sae, split_source
from pipeline.formats.reading import look_at_sae
from pipeline.models.errors import ModelError
from pipeline.recipe.imports import ImportedSAE
from tests.support.models import tiny_sae

RESPONSE = httpx2.Response(403, request=httpx2.Request("GET", "https://huggingface.co"))


def imported(source: str) -> ImportedSAE:
    source, folder = split_source(source)
    return ImportedSAE(source=source, folder=folder, architecture="relu", num_features=24)


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are fetched of a repository with SAEs in two folders."""
    repository, names = tmp_path / "repository", list[str]()
    for layer in (1, 2):
        tiny_sae().save(repository / f"run/layers.{layer}")
    (repository / "run/config.json").write_text("{}")
    files = [file.relative_to(repository).as_posix() for file in repository.rglob("*") if file.is_file()]

    def info(self: object, source: str, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name, size=1) for name in files])

    def snapshot(source: str, *, revision: str | None, local_dir: Path, allow_patterns: list[str]) -> None:
        for name in files:
            if any(fnmatch(name, pattern) for pattern in allow_patterns):
                (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(repository / name, local_dir / name)
                names.append(name)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return names


def test_a_folder_of_a_repository_is_fetched_alone_and_once(store: StorePaths, fetched: list[str]) -> None:
    found = ensure_sae(imported("org/saes/run/layers.2"), store)
    assert (found.name, look_at_sae(found).num_features) == ("layers.2", 24)
    assert sorted(fetched) == ["run/config.json", "run/layers.2/cfg.json", "run/layers.2/sae.safetensors"]
    assert ensure_sae(imported("org/saes/run/layers.2"), store) == found
    assert len(fetched) == 3


def test_a_repository_names_the_folders_that_hold_saes(store: StorePaths, fetched: list[str]) -> None:
    with pytest.raises(FormatError, match=r"org/saes holds no SAE .* below it: run/layers\.1, run/layers\.2$"):
        ensure_sae(imported("org/saes"), store)
    assert not store.saes.exists()


def test_a_gated_repository_says_what_to_do(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise errors.GatedRepoError("no", response=RESPONSE)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(ModelError, match=r"org/saes is gated: accept its licence at .*set HF_TOKEN"):
        ensure_sae(imported("org/saes/run"), store)
    assert not store.saes.exists()
