"""The sample's stages and its doctor on a processor without oneDNN's bfloat16, on less text than `make demo` reads."""

import subprocess
import sys

import pytest

from data.layout import StorePaths

SETTINGS = [
    "name=without-onednn",
    "tokenize.max_tokens=3_000",
    "tokenize.max_held_out_tokens=1_000",
    "harvest.num_shards=1",
    "train.batch_size=128",
    "train.epochs=1",
    'train.saes=[{architecture="relu", num_features=128, learning_rate=4e-3}]',
    "evaluate.max_cross_entropy_tokens=500",
    "project.num_epochs=5",
    "effects.features=8",
    "respond.candidates=8",
    "respond.tried=2",
    "respond.written=1",
    "respond.new_tokens=8",
    "embed.source=none",
]


@pytest.mark.sample
@pytest.mark.timeout(600)
def test_the_sample_needs_no_onednn(sample_store: StorePaths) -> None:
    command = [sys.executable, "-m", "tests.support.onednn"]
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    store = ["--store", str(sample_store.root)]
    done = subprocess.run([*command, "run", "--recipe", "sample", *settings, *store], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "no fused ones: this PyTorch has no oneDNN" in done.stderr + done.stdout
    doctor = subprocess.run([*command, "doctor", "--run", "without-onednn", *store], capture_output=True, text=True)
    assert doctor.returncode == 0, doctor.stdout[-4000:]
