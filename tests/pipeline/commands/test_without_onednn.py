"""The sample's stages on a processor without oneDNN's bfloat16, on less text than `make demo` reads."""

import pytest
import torch

from data.layout import StorePaths
from data.published.state import is_intact, visible_key
from pipeline.models.decoder import Decoder
from pipeline.models.language_model import LanguageModel
from tests.support.command_line import monosema_here
from tests.support.decoding import write
from tests.support.fake_run import THINGS

SETTINGS = [
    "name=without-onednn",
    "corpus.max_document_characters=3_000",
    "tokenize.context_length=128",
    "tokenize.max_tokens=1_500",
    "tokenize.max_held_out_tokens=500",
    "harvest.num_shards=1",
    "train.batch_size=128",
    "train.epochs=1",
    'train.saes=[{architecture="relu", num_features=192, learning_rate=4e-3}]',
    "evaluate.max_cross_entropy_tokens=100",
    'scale.grids=[{architecture="relu", l1_coefficient=2.5, num_features=[32, 64, 128], num_tokens=[2048, 4096, 8192], '
    "learning_rates=[0.008], held_out=[[128, 8192]]}]",
    "scale.held_out_tokens=256",
    "scale.batch_size=64",
    "scale.warmup_steps=10",
    "project.num_epochs=5",
    "effects.features=3",
    "strengths.features=1",
    "strengths.strengths=[1, 2]",
    "strengths.text_strengths=[1]",
    "strengths.positions=2",
    "strengths.new_tokens=2",
    "strengths.planted=1",
    "compare.n=2",
    "compare.max_tokens=500",
    f'completeness.lists=["{THINGS}"]',
    "effects.readings=0",
    "respond.candidates=4",
    "respond.tried=1",
    "respond.written=1",
    "respond.new_tokens=4",
    "neurons.max_tokens=500",
    "embed.source=none",
    "score.features=2",
    "score.samples=50",
    "score.unlabelled=1",
    "score.candidate_texts=2",
    'score.judges=[{kind="rule"}]',
]
"""Every stage but `embed`, which runs no such model; judges/test_local.py has the local judge without oneDNN."""


@pytest.mark.sample
@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_sample_needs_no_onednn(sample_store: StorePaths, hidden: None) -> None:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    done = monosema_here("run", "--recipe", "sample", *settings, store=sample_store)
    assert "no fused ones: this PyTorch has no oneDNN" in done.stderr
    assert "training with products in float32" in done.stderr
    paths = sample_store.run("without-onednn")
    assert is_intact(paths.published(str(visible_key(paths))))


@pytest.mark.sample
def test_the_sample_writes_the_same_text_alone_and_among_others(sample_store: StorePaths, hidden: None) -> None:
    model = LanguageModel.load(sample_store.models / "smollm2-135m", layer=14)
    decoder, prompts = Decoder(model), [[1, 504, 2260], [1, 27, 28, 29, 30, 31, 32], [1, 40]]
    together = write(decoder, prompts, 6)
    for prompt, (text, logits) in zip(prompts, together, strict=True):
        ((alone, expected),) = write(decoder, [prompt], 6)
        assert alone == text
        assert torch.equal(expected, logits)
