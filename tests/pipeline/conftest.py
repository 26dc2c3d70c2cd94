import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data.layout import StorePaths
from tests.support.fakes import publish_fake_run
from tests.support.models import save_tiny_model
from tests.support.onednn import hide_onednn


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A processor without oneDNN's bfloat16."""
    was = torch._C._get_mkldnn_enabled()
    hide_onednn(monkeypatch)
    yield
    torch._C._set_mkldnn_enabled(was)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Llama. Shared: do not change it."""
    folder = tmp_path_factory.mktemp("saved")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    """A store with one published fake run, which no server ever served. Shared: do not change it."""
    store = StorePaths(tmp_path_factory.mktemp("made") / "store")
    publish_fake_run(store)
    return store


@pytest.fixture
def copied_store(made: StorePaths, tmp_path: Path) -> StorePaths:
    """A copy of it, to do harm to."""
    return StorePaths(shutil.copytree(made.root, tmp_path / "copied"))
