"""A served judge against `transformers serve`, a real implementation of the protocol."""

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.judges.cache import AnswerCache
from pipeline.judges.proposing import MAX_TOKENS, ProposalCache
from pipeline.judges.protocol import Question
from pipeline.judges.served import ServedJudge
from pipeline.judges.tasks import SPECIFICITY
from pipeline.recipe.judging import JudgeConfig
from tests.support.chat_model import GEMMA, TEMPLATE, make_chat_model
from tests.support.processes import held_port

START_SECONDS = 240


@pytest.fixture(scope="module", params=[TEMPLATE, GEMMA], ids=["usual", "no system message"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("served"), always="2", template=request.param)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with held_port() as port:
        yield port


@pytest.fixture(scope="module")
def base_url(folder: Path, port: int) -> Iterator[str]:
    program = Path(sys.executable).with_name("transformers")
    command = [str(program), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", server)
            with reading(server):
                yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


@contextmanager
def reading(server: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Read what a server goes on to print: it would wait for ever with the line that a full pipe does not take."""
    assert server.stdout is not None
    reader = threading.Thread(target=server.stdout.readlines)
    reader.start()
    try:
        yield
    finally:
        server.terminate()
        reader.join()


def _wait_for(address: str, server: "subprocess.Popen[bytes]") -> None:
    """Until it answers, or its output ends."""
    assert server.stdout is not None
    for line in server.stdout:
        if b"running on" in line:
            break
    try:
        urllib.request.urlopen(address, timeout=START_SECONDS).read()
    except urllib.error.URLError as error:
        pytest.fail(f"transformers serve did not start: {error}")


def test_it_answers_through_the_openai_library(base_url: str, folder: Path, tmp_path: Path) -> None:
    config = JudgeConfig(kind="served", base_url=base_url, model=str(folder), concurrency=2)
    judge = ServedJudge.from_config(config)
    questions = [Question(SPECIFICITY, "months", f"in<< May>> {n}") for n in range(4)]
    answers, usage = AnswerCache(tmp_path, judge).ask(questions)
    assert [answer.value for answer in answers] == [2.0] * 4
    assert usage.asked == 4
    assert usage.tokens_in > 400
    assert AnswerCache(tmp_path, judge).ask(questions)[1].asked == 0


def test_it_writes_labels(base_url: str, folder: Path, tmp_path: Path) -> None:
    judge = ServedJudge.from_config(JudgeConfig(kind="served", base_url=base_url, model=str(folder), concurrency=2))
    proposals, usage = ProposalCache(tmp_path, judge).ask(["100%: in<< May>> 1", "100%: in<< June>> 2"])
    assert [one.label for one in proposals] == ["2" * MAX_TOKENS] * 2
    assert usage.tokens_out == 2 * MAX_TOKENS
