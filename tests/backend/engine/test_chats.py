"""Conversations in the engine: each row of a request has a prompt of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest
from sqlalchemy import Engine as Database

from backend.engine.engine import Engine
from backend.engine.messages import ChatMessage, Draw, Held, SteerEvent, SteerRequest, SteerRow, Written
from backend.exceptions import RefusedError
from backend.published.catalogue import Library, OpenRun
from backend.settings import Settings
from data.layout import StorePaths
from data.sql.database import connect
from tests.support.models import CHAT_TEMPLATE
from tests.support.steering import copied_database

BY_ITSELF = "system: Be brief\n" + CHAT_TEMPLATE
DRAW = Draw(temperature=0.8, top_p=0.95, max_new_tokens=8, seed=3)
TALK = [ChatMessage("user", "the river"), ChatMessage("assistant", "of Oxford"), ChatMessage("user", "and the war")]
OTHER = [TALK[0], ChatMessage("assistant", "was music"), TALK[2]]


@pytest.fixture
def database(published_store: StorePaths, tmp_path: Path) -> Iterator[Database]:
    made = connect(copied_database(published_store, tmp_path))
    yield made
    made.dispose()


@pytest.fixture
def run(published_store: StorePaths, database: Database) -> OpenRun:
    return Library(database, published_store).catalogue().saes["tiny", "1-relu-64"].run


@pytest.fixture
def engine(published_store: StorePaths) -> Iterator[Engine]:
    made = Engine(Settings(store=published_store.root, max_prompt_tokens=100))
    yield made
    made.stop()


async def learn_to_chat(engine: Engine, run: OpenRun, template: str = BY_ITSELF) -> None:
    """Give the model of a run a chat template."""
    tokenizer = await engine.call(run, lambda: engine.models.load(run).tokenizer)
    tokenizer._pretrained.chat_template = template


async def texts(engine: Engine, run: OpenRun, rows: Sequence[SteerRow]) -> list[tuple[list[int], list[int]]]:
    """Prompt and written tokens of each row of one request."""
    read: list[tuple[list[int], list[int]]] = [([], []) for _ in rows]
    events: AsyncIterator[SteerEvent] = engine.steer(SteerRequest(run, list(rows), DRAW))
    async with aclosing(events):  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, Written):
                read[event.row][event.probability is not None].append(event.token)
    return read


def test_rows_with_histories_of_their_own_are_written_as_each_alone(engine: Engine, run: OpenRun) -> None:
    held = [Held(run.saes[0], 3, 4.0)]
    plain = [Held(run.saes[0], 3, None)]

    async def steer() -> None:
        await learn_to_chat(engine, run)
        first, other = await engine.chats(run, [TALK, OTHER], DRAW.max_new_tokens)
        assert first.tokens != other.tokens
        rows = [SteerRow(first.tokens, plain), SteerRow(other.tokens, held)]
        together = await texts(engine, run, rows)
        assert [prompt for prompt, _ in together] == [first.tokens, other.tokens]
        assert together == [(await texts(engine, run, [row]))[0] for row in rows]

    asyncio.run(steer())


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
