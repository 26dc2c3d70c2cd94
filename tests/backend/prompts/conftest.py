from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from backend.settings import Settings
from data.layout import StorePaths
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from tests.support.pages import app_with_contexts
from tests.support.prompts import NAMES, TEXT


@pytest.fixture(scope="module")
def live(chat_store: StorePaths) -> Iterator[TestClient]:
    app = app_with_contexts(Settings(store=chat_store.root, max_prompt_tokens=100))
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="module")
def dense(live: TestClient, chat_store: StorePaths) -> dict[str, np.ndarray]:
    """By SAE: activations [L, F] of TEXT, zeros where nothing is counted, by the SAE itself."""
    tokens = [0, *Tokenizer.load(chat_store.models / "tiny").encode(TEXT)]
    x_LD = LanguageModel.load(chat_store.models / "tiny", layer=1, dtype="float32").residuals(torch.tensor([tokens]))[0]
    found = {}
    for name in NAMES:
        acts_LF = SAE.load(live.app.state.library.catalogue().saes["tiny", name].folder).encode(x_LD).numpy()
        acts_LF[0] = 0
        found[name] = acts_LF
    return found
