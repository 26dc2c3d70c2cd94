"""A planted world for stage `compare`: letters are words, features are letters, and neurons are what a test makes them.

There is no model: `read` says what it would have given.
"""

import shutil
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.arrow import write_arrow
from data.artifacts.comparison import Comparison, read_comparison
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import STATISTICS, STATISTICS_FILE
from data.artifacts.scores import JudgeReport, write_judges
from data.layout import RunPaths
from pipeline.arrays import Ints, pack_tokens
from pipeline.comparison.reading import ChosenNeurons, ReadText
from pipeline.models.sae import SAE, SAEHeader
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe, make_recipe
from pipeline.stages import compare
from tests.support.chat_model import make_chat_model
from tests.support.fake_run import statistics
from tests.support.fakes import make_corpus, put_manifest
from tests.support.scores import RIGHT

LETTERS = "bcdfghjklmnpqrstvwxz"
F = len(LETTERS)
NAME = f"0-relu-{F}"
Heights = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Activations [N, units] of letters by number [N], -1 for spaces."""


def monosemantic(letter_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each is active on one letter, and, more or less often, on anything else."""
    heights = 0.3 + 0.7 * rng.random((len(letter_N), F))
    own_NF = letter_N[:, None] == np.arange(F)
    astray_NF = (letter_N[:, None] >= 0) & (rng.random((len(letter_N), F)) < np.linspace(0, 0.03, F))
    return np.where(own_NF | astray_NF, heights, -0.1 * rng.random(heights.shape))


def mixtures(letter_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each goes up with about half of the letters, and down with the others."""
    weights = np.random.default_rng(7).choice([-1.0, 1.0], (F + 1, F))
    weights[-1] = 0
    return weights[letter_N] * (0.3 + 0.7 * rng.random((len(letter_N), 1)))


class World:
    """The artifacts before stage `compare`."""

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths
        model = make_chat_model(paths.store.models / "tiny")
        vocabulary = Tokenizer.load(model).token_bytes()
        self.ids = [vocabulary.index(letter.encode()) for letter in LETTERS]
        space, rng = vocabulary.index(b" "), np.random.default_rng(0)
        documents = [[token for n in rng.integers(F, size=50) for token in (self.ids[n], space)] for _ in range(60)]
        self.corpus = make_corpus(paths.stage("tokenize"), documents, 101, range(30))
        put_manifest(paths, "tokenize", {"bos_id": 0, "vocab_size": len(vocabulary), "context_length": 101})
        put_manifest(paths, "fetch", {"model": "models/tiny", "model_name": "Tiny"})
        put_manifest(paths, "harvest", {"bos_id": 0, "sink_threshold": 1e9})
        header = SAEHeader(NAME, "relu", "relu", F, F, "tiny", 0)
        b_enc_F, b_dec_D, threshold_F = (torch.zeros(F) for _ in range(3))
        SAE(header, torch.eye(F), b_enc_F, torch.eye(F), b_dec_D, threshold_F).save(paths.stage("train") / NAME)
        put_manifest(paths, "train", {})
        text = self.read(monosemantic, mixtures)(None, self.corpus, self.corpus.sequence_numbers(held_out=False), None)
        rows = list(statistics(np.maximum(text.x_ND.numpy(), 0), 1.0, 5))
        (paths.stage("examples") / NAME).mkdir(parents=True)
        table = pa.Table.from_pylist(rows, STATISTICS)
        write_arrow(paths.stage("examples") / NAME / STATISTICS_FILE, STATISTICS, table.to_batches())
        put_manifest(paths, "examples", {})
        paths.stage("score").mkdir()
        trust = dict.fromkeys(("specificity", "detection", "fuzzing"), RIGHT)
        away = JudgeReport("local", "local", "", "It has no chat template.")
        few = JudgeReport("few", "rule", "", "", trust, 3)
        write_judges(paths.stage("score"), [JudgeReport("rule", "rule", "the rule", "", trust, F), away, few])
        put_manifest(paths, "score", {})

    def read(self, features: Heights, neurons: Heights, seed: int = 1) -> Callable[..., ReadText]:
        """Stands for `read_text`."""

        def read_text(
            model: Any, corpus: TokenizedCorpus, numbers_S: Ints, chosen: ChosenNeurons | None, **options: Any
        ) -> ReadText:
            tokens, names = [], []
            for number in numbers_S.tolist():
                _, start, length = corpus.sequences[number].tolist()
                tokens.append(corpus.sequence_tokens(number))
                names.append(pack_tokens(np.full(length, number), np.arange(start, start + length)))
            number_of = {token: n for n, token in enumerate(self.ids)}
            letter_N = np.array([number_of.get(token, -1) for token in np.concatenate(tokens).tolist()])
            rng = np.random.default_rng([seed, len(letter_N), int(numbers_S[0])])
            x_ND, n_NU = (torch.from_numpy(one(letter_N, rng).astype(np.float32)) for one in (features, neurons))
            columns = slice(None) if chosen is None else torch.from_numpy(chosen._number_U)
            return ReadText(x_ND, n_NU[:, columns], np.concatenate(names))

        return read_text

    def run(self, monkeypatch: pytest.MonkeyPatch, neurons: Heights, seed: int = 0, **section: Any) -> Comparison:
        """The comparison of features that are letters with such neurons."""
        model = SimpleNamespace(
            neurons_per_layer=lambda: F,
            layer=0,
            cut=SimpleNamespace(num_layers=1),
            device=torch.device("cpu"),
            vocab_size=None,
        )
        monkeypatch.setattr(compare, "load_language_model", lambda *args, **options: model)
        monkeypatch.setattr(compare, "read_text", self.read(monosemantic, neurons, seed + 1))
        shutil.rmtree(self.paths.stage("compare"), ignore_errors=True)
        compare.run(recipe(seed, **section), self.paths)
        return read_comparison(self.paths.stage("compare"))


def recipe(seed: int = 0, **section: Any) -> Recipe:
    """A recipe of the planted world."""
    judges = [{"kind": "rule"}, {"kind": "local"}, {"kind": "rule", "name": "few", "features": 3}]
    return make_recipe(
        {
            "name": "planted",
            "seed": seed,
            "corpus": {"source": "text", "path": "texts"},
            "model": {"name": "tiny", "source": "tiny", "layer": 0, "dtype": "float32"},
            "train": {"saes": [{"architecture": "relu", "num_features": F}]},
            "examples": {"rare_tokens": 5},
            "score": {"bands": 5, "context": 6, "judges": judges},
            "compare": {"n": 16, "max_tokens": 3000, **section},
        }
    )
