"""Helpers of the tests of the search by prompts: prompts, and a check of all features."""

from typing import Any

import numpy as np
import torch
from fastapi.testclient import TestClient

from data.layout import StorePaths
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer

NAMES = ["1-relu-64", "1-relu-256", "1-batchtopk-64"]
POSITIVE = ["the river of University", "a river and <script>alert(1)</script>", " was in a river engine music"]
NEGATIVE = ["war and Oxford", "café 😀 music"]
LOOSE = {"at_least": 0.0, "at_most": 1.0}


class Naive:
    """Shares [prompts, features of all SAEs] of each feature's highest activation, from the SAEs themselves."""

    def __init__(self, client: TestClient, store: StorePaths) -> None:
        self.saes = [client.app.state.library.catalogue().saes["tiny", name] for name in NAMES]
        self.weights = [SAE.load(sae.folder) for sae in self.saes]
        self.tokenizer = Tokenizer.load(store.models / "tiny")
        self.model = LanguageModel.load(store.models / "tiny", layer=1, dtype="float32")
        rows = [sae.row(f) for sae in self.saes for f in range(sae.num_features)]
        table = self.saes[0].run.tables.take("features", rows, ["sae", "index", "max", "density", "live"])
        self.names = [(row["sae"], row["index"]) for row in table.to_pylist()]
        self.live_F = table["live"].to_numpy()
        self.max_F, self.density_F = (table[c].to_numpy().astype(np.float64) for c in ("max", "density"))

    def shares(self, texts: list[str]) -> np.ndarray:
        return np.array([self._share(text) for text in texts]).reshape(-1, len(self.max_F))

    def _share(self, text: str) -> np.ndarray:
        tokens = torch.tensor([[0, *self.tokenizer.encode(text)]])
        x_LD = self.model.residuals(tokens)[0, 1:]
        peak_F = np.concatenate([sae.encode(x_LD).numpy().max(0) for sae in self.weights])
        return np.where(self.max_F > 0, peak_F / np.where(self.max_F > 0, self.max_F, 1), peak_F > 0)

    def find(self, positive: list[str], negative: list[str], at_least: float, at_most: float) -> set[tuple[str, int]]:
        positive_PF, negative_NF = self.shares(positive), self.shares(negative)
        fits_F = ((positive_PF >= at_least) & (positive_PF > 0)).all(0) & (negative_NF <= at_most).all(0)
        return {self.names[f] for f in np.flatnonzero(fits_F & self.live_F)}


def search(client: TestClient, positive: list[str], negative: list[str], **body: Any) -> dict[str, Any]:
    asked = {"positive": positive, "negative": negative, "limit": 1000, **body}
    answer = client.post("/api/v1/search", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def found(answer: dict[str, Any]) -> set[tuple[str, int]]:
    return {(one["feature"]["sae"], one["feature"]["index"]) for one in answer["features"]}
