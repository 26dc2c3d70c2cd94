"""Conversations in the engine: each row of a request has a prompt of its own."""

import asyncio
from collections.abc import Iterator

import pytest

from backend.engine.engine import Engine
from backend.engine.messages import ChatMessage, Held, SteerRow
from backend.exceptions import RefusedError
from backend.published.catalogue import OpenRun
from pipeline.models import tokenizer
from tests.support.engine import DRAW, steer
from tests.support.models import CHAT_TEMPLATE

BY_ITSELF = "system: Be brief\n" + CHAT_TEMPLATE
TALK = [ChatMessage("user", "the river"), ChatMessage("assistant", "of Oxford"), ChatMessage("user", "and the war")]
OTHER = [TALK[0], ChatMessage("assistant", "was music"), TALK[2]]


@pytest.fixture(autouse=True)
def untaught() -> Iterator[None]:
    """Tokenizers are read once for all tests: what learned to chat is forgotten."""
    yield
    tokenizer._read.cache_clear()


async def learn_to_chat(engine: Engine, run: OpenRun, template: str = BY_ITSELF) -> None:
    """Give the model of a run a chat template."""
    loaded = await engine.call(run, lambda: engine.models.load(run).tokenizer)
    loaded._pretrained.chat_template = template


def test_rows_with_histories_of_their_own_are_written_as_each_alone(engine: Engine, run: OpenRun) -> None:
    held = [Held(run.saes[0], 3, 4.0)]
    plain = [Held(run.saes[0], 3, None)]

    async def talk() -> None:
        await learn_to_chat(engine, run)
        first, other = await engine.chats(run, [TALK, OTHER], DRAW.max_new_tokens)
        assert first.tokens != other.tokens
        rows = [SteerRow(first.tokens, plain), SteerRow(other.tokens, held)]
        together = await steer(engine, run, rows)
        prompts = [[one.token for one in text if one.probability is None] for text in together]
        assert prompts == [first.tokens, other.tokens]
        assert together == [(await steer(engine, run, [row]))[0] for row in rows]

    asyncio.run(talk())


def test_tokens_are_of_the_template_or_of_a_message(engine: Engine, run: OpenRun) -> None:
    async def read() -> None:
        await learn_to_chat(engine, run)
        (chat,) = await engine.chats(run, [TALK])
        assert b"".join(chat.pieces).endswith(b"user: the river\nassistant: of Oxford\nuser: and the war\nassistant: ")
        said = dict.fromkeys(("template", "user", "assistant"), b"")
        for role, piece in zip(chat.roles, chat.pieces, strict=True):
            said[role] += piece
        assert said["user"] == b" the river and the war"
        assert said["assistant"] == b" of Oxford"

    asyncio.run(read())


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "nothing to answer"),
        (TALK[:2], "nothing to answer"),
        ([ChatMessage("user", " ")], "nothing to answer"),
        ([ChatMessage("user", "river " * 100)], "at most 100 fit"),
    ],
)
def test_unfit_conversations_are_refused(engine: Engine, run: OpenRun, messages: list[ChatMessage], words: str) -> None:
    async def ask() -> None:
        await learn_to_chat(engine, run)
        with pytest.raises(RefusedError, match=words):
            await engine.chats(run, [messages])

    asyncio.run(ask())


def test_a_model_without_a_template_refuses_chats(engine: Engine, run: OpenRun) -> None:
    with pytest.raises(RefusedError, match="no chat template"):
        asyncio.run(engine.chats(run, [TALK]))
