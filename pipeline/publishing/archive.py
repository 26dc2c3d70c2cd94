"""A published run as one file, to be served on another machine.

monosema-run.json    {"run": name, "key": key, "contract": version}, the first member
run/...              the published folder, as it is (see data/published/state.py)
"""

import io
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

from data import CONTRACT_VERSION
from data.errors import ArtifactError, ConfigError, ContractError
from data.layout import RunPaths, StorePaths
from data.manifests import check_hashes, load_manifest
from data.published.state import make_visible, open_published, read_rows, refuse_taken, visible_key
from pipeline.progress import track

HEAD = "monosema-run.json"
FOLDER = "run"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_KEY = re.compile(r"[0-9a-f]{16}")


def export_run(store: StorePaths, run: str | None, target: Path) -> str:
    """Write a published run (None: the newest) to `target`, whole or not at all; returns the run's name.

    Raises ConfigError when `target` cannot be a file.
    """
    if target.is_dir() or not target.parent.is_dir():
        raise ConfigError(f"{target} cannot be written: name a file in a folder that is there")
    published = open_published(store, run)
    head = {"run": published.record.name, "key": published.record.key, "contract": CONTRACT_VERSION}
    files = sorted(path for path in published.folder.rglob("*") if path.is_file())
    partial = target.with_name(f".{target.name}.partial")
    try:
        with (
            track("export", sum(file.stat().st_size for file in files), "B") as progress,
            tarfile.open(partial, "w") as tar,
        ):
            encoded = json.dumps(head).encode()
            member = tarfile.TarInfo(HEAD)
            member.size = len(encoded)
            tar.addfile(member, io.BytesIO(encoded))
            for file in files:
                tar.add(file, f"{FOLDER}/{file.relative_to(published.folder).as_posix()}")
                progress.advance(file.stat().st_size)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return published.record.name


def import_run(store: StorePaths, source: Path) -> str:
    """Publish the run of an exported file in this store; returns its name.

    Raises ArtifactError when the file is none or is damaged, ContractError when it is of another contract version.
    """
    if not source.is_file():
        raise ArtifactError(f"there is no file {source}: give one that `monosema export` wrote")
    try:
        with tarfile.open(source) as tar:
            head = _read_head(tar, source)
            return _unpack(store, tar, head)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ArtifactError(f"{source} is no exported run, or is damaged ({error}): export it again") from None


def _read_head(tar: tarfile.TarFile, source: Path) -> dict[str, Any]:
    first = tar.next()
    file = tar.extractfile(first) if first is not None and first.name == HEAD else None
    head: dict[str, Any] = json.load(file) if file is not None else {}
    if not (_NAME.fullmatch(str(head.get("run"))) and _KEY.fullmatch(str(head.get("key")))):
        raise ArtifactError(f"{source} is no exported run (no {HEAD}): give one that `monosema export` wrote")
    if head.get("contract") != CONTRACT_VERSION:
        raise ContractError(
            f"{source} is of contract version {head.get('contract')}, this code reads version {CONTRACT_VERSION}: "
            "export it again with this version of the code"
        )
    return head


def _unpack(store: StorePaths, tar: tarfile.TarFile, head: dict[str, Any]) -> str:
    paths = store.run(head["run"])
    folder = paths.published(head["key"])
    _refuse_published(paths, head["key"])
    partial = folder.with_name(f".{folder.name}.partial")
    for left in (partial, folder):  # by an import that was killed: nothing that SQL does not name was ever visible
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for member in tar:
            if member.name != HEAD:
                tar.extract(member, partial, filter=_inside)
        check_hashes(partial, load_manifest(partial))
        rows = read_rows(partial)
        refuse_taken(store, head["run"], rows["run"]["model"], [sae["name"] for sae in rows["saes"]])
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    make_visible(paths, head["key"])
    return str(head["run"])


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """A file of the published folder, by its name there. Raises tarfile.FilterError for a name that leads elsewhere."""
    inner = member.replace(name=member.name.removeprefix(f"{FOLDER}/"), deep=False)
    return tarfile.data_filter(inner, folder)


def _refuse_published(paths: RunPaths, key: str) -> None:
    """Importing never replaces what was published here."""
    if (published := visible_key(paths)) is not None:
        content = "this same content" if published == key else "another content"
        raise ConfigError(
            f"run '{paths.run}' is published here already, with {content}: import into another store (--store)"
        )
