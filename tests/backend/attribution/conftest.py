from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.settings import Settings
from data.layout import StorePaths
from pipeline.models.language_model import LanguageModel
from pipeline.models.tokenizer import Tokenizer
from tests.support.pages import app_with_contexts


@pytest.fixture(scope="module")
def live(published_store: StorePaths) -> Iterator[TestClient]:
    app = app_with_contexts(Settings(store=published_store.root, max_prompt_tokens=120, max_new_tokens=24))
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def plain(published_store: StorePaths) -> LanguageModel:
    return LanguageModel.load(published_store.models / "tiny", layer=1, dtype="float32", fused=False)


@pytest.fixture(scope="module")
def tokenizer(published_store: StorePaths) -> Tokenizer:
    return Tokenizer.load(published_store.models / "tiny")
