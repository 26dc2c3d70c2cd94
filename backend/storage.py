"""How many prompts, results and lists of visitors are kept: what grows without end fills the disk in the end.

StoreFullError    the server keeps no more of a kind (503)
"""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.exceptions import StoreFullError
from data.sql.records import Base


def require_room(session: Session, table: type[Base], most: int, kind: str, setting: str) -> None:
    """Raise StoreFullError unless a table has fewer than `most` rows.

    kind: what the rows are, in the plural. setting: the variable that sets `most`.
    """
    if (session.scalar(select(func.count()).select_from(table)) or 0) >= most:
        raise StoreFullError(
            f"This server keeps {most:,} {kind}, and all places are taken: whoever runs it can set {setting} higher."
        )
