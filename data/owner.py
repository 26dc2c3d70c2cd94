"""The key by which a server knows its owners: who has it may correct labels and write notes."""

import os
import secrets
from pathlib import Path

from data.layout import StorePaths

OWNER_VARIABLE = "MONOSEMA_OWNER_KEY"
KEY_BYTES = 32


def owner_key(store: StorePaths) -> str:
    """The key named by MONOSEMA_OWNER_KEY, or the one in the store, which is made at first use."""
    return os.environ.get(OWNER_VARIABLE) or _kept(store.owner_key)


def _kept(path: Path) -> str:
    """The key in a file that its owner alone may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    key = secrets.token_urlsafe(KEY_BYTES)
    with os.fdopen(handle, "w") as file:
        file.write(key + "\n")
    return key
