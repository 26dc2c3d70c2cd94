"""What was published, for tests to read and to change behind the pipeline's back."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from data.layout import StorePaths
from data.published.state import Published
from data.published.tables import PublishedRun
from data.sql.database import connect, database_url


def tables_of(published: Published) -> PublishedRun:
    return PublishedRun(published.folder)


def in_sql(store: StorePaths, work: Callable[[Session], None]) -> None:
    engine = connect(database_url(store))
    with Session(engine) as session, session.begin():
        work(session)
    engine.dispose()
