"""A bounded memory of what was read from tables that do not change."""

from collections.abc import Hashable, Mapping
from itertools import islice
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """Remembers the last `limit` entries; what was put in first goes first. Threads may share it."""

    def __init__(self, limit: int) -> None:
        assert limit > 0
        self.limit = limit
        self._entries: dict[Key, Value] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The remembered value of `key`, or None."""
        return self._entries.get(key)

    def put(self, entries: Mapping[Key, Value]) -> None:
        """Remember entries, and forget the oldest beyond the limit."""
        with self._lock:
            self._entries.update(entries)
            for key in list(islice(self._entries, max(0, len(self) - self.limit))):
                del self._entries[key]
