"""The whole road, by the commands a person types: corpus in, dashboard out, on real processes, files and pages."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import torch
from playwright.sync_api import Browser

from data.layout import StorePaths
from tests.browser.conftest import Watch

SMALL_SAES = """train.saes=[
 {architecture="relu", num_features=256, learning_rate=4e-3},
 {architecture="relu", num_features=512, learning_rate=4e-3},
 {architecture="batchtopk", num_features=256, k=16, learning_rate=2e-3}]""".replace("\n", "")


SMALL = [
    'completeness.lists=["chemical-elements"]',
    "corpus.max_document_characters=6_000",
    "tokenize.max_tokens=10_000",
    "tokenize.max_held_out_tokens=3_000",
    "train.batch_size=128",
    "evaluate.max_cross_entropy_tokens=400",
    "respond.candidates=24",
    "respond.tried=4",
    "respond.written=2",
    "respond.new_tokens=16",
    "effects.features=48",
    "strengths.features=6",
    "compare.n=4",
    "compare.max_tokens=2_000",
    "effects.context=32",
    "effects.readings=1",
    "neurons.max_tokens=4_000",
    "score.features=6",
    'score.judges=[{kind="rule"}, {kind="sentences", tasks=["specificity", "fuzzing"], samples=40}, '
    '{kind="local", tasks=["specificity"], features=2, samples=6, planted=2}]',
    "project.num_epochs=20",
]
"""Every stage and every judge of the sample, on little text."""


def monosema(*arguments: str, store: StorePaths, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments, "--store", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert not check or done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


@contextmanager
def serving(store: StorePaths) -> Iterator[str]:
    """A real server on a free port, stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.cli", "serve", "--port", str(port), "--store", str(store.root)]
    server = subprocess.Popen(command, env={**os.environ, "MONOSEMA_STORE": str(store.root)})
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(address, server)
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


def wait_until_ready(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended before it was ready"
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)  # between two polls of another process; nothing here depends on its length
    raise AssertionError("the server was not ready within 60 seconds")


def visit(browser: Browser, address: str, paths: list[str]) -> list[str]:
    """Open pages in a new profile; returns their headings. Errors, warnings and foreign requests fail."""
    watch, headings = Watch(address), []
    with closing(browser.new_context()) as context:
        page = context.new_page()
        watch.follow(page)
        for path in paths:
            response = page.goto(address + path)
            assert response is not None
            assert response.status == 200, f"{path}: {response.status}"
            headings.append(page.locator("h1").first.inner_text())
    assert not watch.found
    return headings


@pytest.mark.sample
@pytest.mark.browser
@pytest.mark.timeout(600)
def test_sample_model_to_dashboard(sample_store: StorePaths, browser: Browser) -> None:
    settings = [part for override in (*SMALL, SMALL_SAES) for part in ("--set", override)]
    monosema("run", "--recipe", "sample", *settings, store=sample_store)

    doctor = monosema("doctor", "--run", "sample", store=sample_store)
    assert doctor.returncode == 0

    with serving(sample_store) as address, httpx.Client(base_url=f"{address}/api/v1", timeout=120) as http:
        names = [sae["name"] for sae in http.get("/saes").json()]
        assert names == ["14-relu-256", "14-relu-512", "14-batchtopk-256"]
        sae = "smollm2-135m/14-relu-512"
        features = http.get(f"/features/{sae}", params={"sort": "density", "order": "desc"}).json()["features"]
        index = features[3]["index"]
        examples = http.get(f"/features/{sae}/{index}/examples").json()
        assert examples, "a dense feature has examples"

        text = "The University of Oxford was founded in England."
        answer = http.post("/activations", json={"text": text, "saes": [sae]})
        assert answer.status_code == 200, answer.text

        pages = [
            "/",
            "/smollm2-135m/14-relu-512",
            f"/smollm2-135m/14-relu-512/{index}",
            "/explore",
            "/prompt",
            "/steer",
        ]
        assert all(visit(browser, address, pages))


def make_text_folder(folder: Path, num_files: int) -> None:
    """Files of made-up sentences: enough for a held-out share, and with words that a feature can find."""
    rng = random.Random(0)
    nouns = ["river", "engine", "teacher", "window", "garden", "signal", "market", "letter"]
    verbs = ["follows", "opens", "repairs", "paints", "measures", "forgets"]
    folder.mkdir()
    for number in range(num_files):
        sentences = [f"The {rng.choice(nouns)} {rng.choice(verbs)} the {rng.choice(nouns)}." for _ in range(60)]
        (folder / f"{number:03d}.txt").write_text(" ".join(sentences))


def make_tiny_llama(folder: Path, texts: Path) -> None:
    """A random Llama and a tokenizer made on the spot, in the Hub's format."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in sorted(texts.glob("*.txt"))], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


RECIPE = """
name = "mine"
[corpus]
source = "text"
path = {path}
held_out_fraction = 0.1
[model]
name = "tiny"
source = {model}
layer = 1
dtype = "float32"
[tokenize]
context_length = 128
[harvest]
num_shards = 3
[train]
batch_size = 128
[[train.saes]]
architecture = "relu"
num_features = 96
learning_rate = 3e-3
[[train.saes]]
architecture = "topk"
num_features = 64
k = 4
learning_rate = 3e-3
[respond]
candidates = 32
tried = 4
written = 1
new_tokens = 8
[effects]
features = 32
readings = 1
[project]
num_epochs = 10
"""


@pytest.mark.browser
def test_own_texts_and_own_model_to_dashboard(store: StorePaths, tmp_path: Path, browser: Browser) -> None:
    make_text_folder(tmp_path / "texts", 40)
    make_tiny_llama(tmp_path / "llama", tmp_path / "texts")
    recipe = tmp_path / "mine.toml"
    quoted = {"path": json.dumps(str(tmp_path / "texts")), "model": json.dumps(str(tmp_path / "llama"))}
    recipe.write_text(RECIPE.format(**quoted))
    monosema("run", "--recipe", str(recipe), store=store)
    assert monosema("doctor", "--run", "mine", store=store).returncode == 0

    assert "done in" not in monosema("run", "--recipe", str(recipe), store=store).stderr, "a second run does nothing"

    with serving(store) as address:
        assert all(visit(browser, address, ["/", "/tiny/1-relu-96", "/tiny/1-topk-64/0", "/explore", "/prompt"]))
