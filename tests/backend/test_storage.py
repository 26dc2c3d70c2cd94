"""What visitors leave, kept by content, on a real SQLite file and a real PostgreSQL server."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.exceptions import StoreFullError
from backend.storage import ContentStore, content_id
from data.sql.database import connect
from data.sql.records import PromptRecord

LENGTH = 24


@pytest.fixture
def engine(sql_url: str):
    engine = connect(sql_url)
    yield engine
    engine.dispose()


def store(engine, limit: int) -> ContentStore[PromptRecord]:
    return ContentStore(engine, PromptRecord, LENGTH, limit, "texts", "MONOSEMA_MAX_TEXTS")


def keep(kept: ContentStore[PromptRecord], text: str) -> str:
    name = content_id(text.encode(), LENGTH)
    now = datetime.now(UTC).replace(tzinfo=None)
    kept.add(name, lambda: PromptRecord(id=name, text=text.encode(), created=now))
    return name


def test_the_same_content_has_one_row_whoever_stores_it(engine):
    kept = store(engine, 5)
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: keep(kept, "one text"), range(24)))
    assert len(names) == 1
    record = kept.get(names.pop())
    assert record is not None
    assert record.text == b"one text"
    with Session(engine) as session:
        assert session.scalar(select(func.count()).select_from(PromptRecord)) == 1


def test_a_full_store_says_what_to_set_and_still_knows_what_it_has(engine):
    kept = store(engine, 1)
    name = keep(kept, "first")
    with pytest.raises(StoreFullError, match=r"at most 1 texts.*MONOSEMA_MAX_TEXTS"):
        keep(kept, "second")
    assert keep(kept, "first") == name


@pytest.mark.parametrize("name", ["", "abc", "z" * LENGTH, "A" * LENGTH, "0" * (LENGTH + 1), "\x00" * LENGTH])
def test_a_name_that_no_content_has_is_not_looked_up(name):
    assert store(None, 1).get(name) is None
