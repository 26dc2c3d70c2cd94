"""Detection and fuzzing against delphi's own code: the same texts, predictions and scores, by the same judge."""

import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.arrays import pack_tokens
from pipeline.judges.protocol import Answer, Question
from pipeline.scores.detection import ChosenTexts, ExampleTexts, LabelledText, accuracy
from pipeline.scores.sampling import Samples, windows_around
from pipeline.scores.texts import WindowTexts
from tests.support import delphi
from tests.support.fakes import make_corpus

pytestmark = pytest.mark.skipif(not delphi.is_installed(), reason=delphi.INSTALL)

VOCABULARY = [f" word{n}".encode() for n in range(60)]
LABEL, CONTEXT, COUNT = "words of one kind", 9, 12


def judge(label: str, text: str) -> float:
    """A judge that is neither always right nor always wrong, and depends on every character."""
    return int(hashlib.sha256(f"{label}|{text}".encode()).hexdigest()[:4], 16) / 0xFFFF


class Texts:
    """The texts of one feature, as ours and as delphi's record."""

    def __init__(self, folder: Path, seed: int) -> None:
        rng = np.random.default_rng(seed)
        documents = [rng.integers(60, size=120).tolist() for _ in range(6)]
        self.corpus = make_corpus(folder, documents, 61, [])
        sequences = rng.integers(len(self.corpus.sequences), size=(2, COUNT))
        positions = self.corpus.sequences["start"][sequences] + rng.integers(60, size=(2, COUNT))
        tokens = [np.unique(pack_tokens(*pair)) for pair in zip(sequences, positions, strict=True)]
        present, self.absent = (windows_around(token, self.corpus, CONTEXT) for token in tokens)
        active = [self._active(rng, present, m) for m in range(len(present.token_P))]
        count_M = np.array([len(offsets) for offsets, _ in active])
        size = len(count_M)
        self.samples = Samples(
            np.zeros(size, np.int64), np.arange(size) % 5, np.zeros(size, np.int64), present,
            np.ones(size, np.float32), np.cumsum(count_M) - count_M, count_M,
            np.concatenate([offsets for offsets, _ in active]), np.concatenate([values for _, values in active]),
        )  # fmt: skip
        self.maker = ExampleTexts(WindowTexts(self.corpus, VOCABULARY), self.samples, self.absent)
        self.chosen = ChosenTexts(np.arange(size), np.arange(len(self.absent.token_P)))

    @staticmethod
    def _active(rng: np.random.Generator, windows: Any, m: int) -> tuple[np.ndarray, np.ndarray]:
        length = int(windows.stop_P[m] - windows.start_P[m])
        offsets = np.sort(rng.choice(length, min(length, int(rng.integers(1, 6))), replace=False))
        return offsets, rng.random(len(offsets)).astype(np.float32) + np.float32(0.05)

    def record(self) -> Any:
        import torch
        from delphi.latents.latents import ActivatingExample, Latent, LatentRecord, NonActivatingExample

        def pieces(windows: Any, m: int) -> tuple[torch.Tensor, list[str]]:
            document = int(self.corpus.sequences["document"][windows.token_P[m] >> 32])
            start, stop = int(windows.start_P[m]), int(windows.stop_P[m])
            ids = self.corpus.stretch(document, start, stop - start).astype(np.int64)
            return torch.from_numpy(ids), [VOCABULARY[token].decode() for token in ids.tolist()]

        test, not_active = [], []
        for m in self.chosen.present_M.tolist():
            tokens, words = pieces(self.samples.windows, m)
            acts = torch.zeros(len(words))
            offsets, values = self.samples.active(m)
            acts[torch.from_numpy(offsets)] = torch.from_numpy(values)
            test.append(ActivatingExample(tokens=tokens, activations=acts, str_tokens=words))
        for p in self.chosen.absent_P.tolist():
            tokens, words = pieces(self.absent, p)
            not_active.append(
                NonActivatingExample(tokens=tokens, activations=torch.zeros(len(words)), str_tokens=words)
            )
        return LatentRecord(Latent("layer", 0), test=test, not_active=not_active, explanation=LABEL)


def delphis(kind: str, record: Any) -> tuple[list[tuple[str, bool, bool]], dict[str, float]]:
    """Texts, whether the feature is in each, predictions; and the figures."""
    delphi.import_delphi()
    import pandas as pd
    from delphi.clients.client import Client, Response
    from delphi.log.result_analysis import compute_classification_metrics, compute_confusion
    from delphi.scorers import DetectionScorer, FuzzingScorer

    seen: list[str] = []

    class JudgeClient(Client):
        async def generate(self, prompt: Any, **options: Any) -> Response:
            found = re.search(r"Latent explanation: (.*?)\n.*Example 0: (.*?)\n?$", prompt[-1]["content"], re.S)
            assert found is not None
            seen.append(found[2].rstrip("\n"))
            return Response(text=f"[{int(judge(found[1], seen[-1]) >= 0.5)}]")

    scorer = {"detection": DetectionScorer, "fuzzing": FuzzingScorer}[kind](JudgeClient("judge"))
    result = scorer.call_sync(record).score
    said = [(text, one.activating, bool(one.prediction)) for text, one in zip(seen, result, strict=True)]
    frame = pd.DataFrame([{"activating": one.activating, "prediction": one.prediction} for one in result])
    return said, compute_classification_metrics(compute_confusion(frame))


def ours(kind: str, texts: Texts) -> tuple[list[tuple[str, bool, bool]], Any]:
    made: list[LabelledText] = getattr(texts.maker, kind)(LABEL, "", texts.chosen)
    answers = [Answer(judge(LABEL, shown(one.question))) for one in made]
    said = [(shown(t.question), t.activating, a.value >= 0.5) for t, a in zip(made, answers, strict=True)]
    return said, accuracy(made, answers)


def shown(question: Question) -> str:
    return question.text


@pytest.mark.parametrize("kind", ["detection", "fuzzing"])
@pytest.mark.parametrize("seed", range(5))
def test_texts_predictions_and_scores_are_delphis(kind: str, seed: int, tmp_path: Path) -> None:
    delphi.import_delphi()
    texts = Texts(tmp_path, seed)
    theirs, figures = delphis(kind, texts.record())
    mine, rate = ours(kind, texts)
    assert sorted(mine) == sorted(theirs)
    assert math.isclose(rate.true_positive, figures["true_positive_rate"], abs_tol=1e-9)
    assert math.isclose(rate.true_negative, figures["true_negative_rate"], abs_tol=1e-9)
    assert math.isclose(rate.balanced, figures["accuracy"], abs_tol=1e-9)
