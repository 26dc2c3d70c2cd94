"""Stores that share what is published with another one, and have the rest of their own."""

import shutil
from pathlib import Path

from data.layout import StorePaths


def linked_store(store: StorePaths, root: Path, *, but: set[Path]) -> StorePaths:
    """A store in `root` whose entries are links to those of another, but for some of these."""
    root.mkdir(parents=True, exist_ok=True)
    for path in store.root.iterdir():
        if path not in but:
            (root / path.name).symlink_to(path)
    return StorePaths(root)


def store_with_own_model(store: StorePaths, root: Path) -> StorePaths:
    """The same run, with models that may be changed and a database of its own."""
    made = linked_store(store, root, but={store.models, store.database})
    shutil.copy(store.database, made.database)
    shutil.copytree(store.models, made.models)
    return made


def owned_store(store: StorePaths, root: Path) -> StorePaths:
    """The same run, without a database, and with an owner of its own."""
    return linked_store(store, root, but={store.database, store.owner_key})
