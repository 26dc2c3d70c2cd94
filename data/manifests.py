"""Manifests: what an artifact is, what made it, and whether it is whole.

Every artifact is a folder with a `manifest.json`. Its `key` names everything that decides the content: the stage, its
version, the part of the recipe it reads, the seed, and the keys of its inputs. Equal keys mean equal artifacts, so a
second run with the same recipe finds the key and does nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data import ARTIFACT_VERSION
from data.errors import ArtifactError, ContractError
from data.layout import MANIFEST_NAME, RunPaths

HASH_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Origin and contents of an artifact."""

    stage: str
    key: str
    """Hash of stage, version, config, seed and inputs: 16 hexadecimal digits."""
    config: dict[str, Any]
    """The part of the recipe that decides the content."""
    inputs: dict[str, str]
    """Stage name to key of each artifact that was read."""
    seed: int
    counts: dict[str, Any]
    """Counts that the stage reports of its result: numbers of documents, tokens, rows and so on."""
    files: dict[str, FileRecord]
    """Every file of the artifact by its path inside the folder."""
    code_version: str
    seconds: float
    """Wall time that the stage took, all its attempts together."""
    created: str
    """UTC time at which it was finished, ISO 8601."""
    contract: int = field(default=ARTIFACT_VERSION)


def digest(content: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that name `content`, which must be plain JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_file(path: Path) -> FileRecord:
    """Size and SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            sha.update(block)
    return FileRecord(path.stat().st_size, sha.hexdigest())


def hash_folder(folder: Path) -> dict[str, FileRecord]:
    """Every file below `folder` but its manifest and hidden ones, by relative path."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): hash_file(p) for p in paths if p.name != MANIFEST_NAME}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into `folder`, whole or not at all."""
    temporary = folder / f".{MANIFEST_NAME}"
    temporary.write_text(json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n")
    temporary.replace(folder / MANIFEST_NAME)


def load_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` of an artifact.

    Raises ArtifactError when there is none or it cannot be read, ContractError when it is of another artifact version.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = json.loads(path.read_text())
        if isinstance(raw, dict) and raw.get("contract") != ARTIFACT_VERSION:
            raise ContractError(
                f"{folder} was written under artifact version {raw.get('contract')}, this code reads version "
                f"{ARTIFACT_VERSION}: delete the folder and run the recipe again"
            )
        return Manifest(**{**raw, "files": {name: FileRecord(**record) for name, record in raw["files"].items()}})
    except FileNotFoundError:
        raise ArtifactError(f"there is no artifact at {folder}: run its stage first") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error!r}): delete {folder} and run the stage again") from None


def require_stage(paths: RunPaths, stage: str) -> Manifest:
    """The manifest of a finished stage, whose files have the sizes it names.

    Raises ArtifactError that names the command to run when the stage is missing or a file is not as it was written.
    """
    folder = paths.stage(stage)
    if not (folder / MANIFEST_NAME).exists():
        raise ArtifactError(f"run '{paths.run}' has no finished stage '{stage}': run `monosema {stage}` first")
    manifest = load_manifest(folder)
    check_sizes(folder, manifest)
    return manifest


def find_stage(paths: RunPaths, stage: str) -> Manifest | None:
    """The manifest of a finished stage whose files are whole, or None."""
    try:
        return require_stage(paths, stage)
    except ArtifactError:
        return None


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Raise ArtifactError for the first file that is missing or has another size than the manifest names."""
    for name, record in manifest.files.items():
        path = folder / name
        found = path.stat().st_size if path.exists() else None
        if found != record.bytes:
            state = "is missing" if found is None else f"has {found:,} bytes instead of {record.bytes:,}"
            raise ArtifactError(f"{path} {state}: delete {folder} and run `monosema {manifest.stage}` again")


def check_hashes(folder: Path, manifest: Manifest) -> None:
    """Raise ArtifactError for the first file whose content is not what was written (reads every byte)."""
    check_sizes(folder, manifest)
    for name, record in manifest.files.items():
        if hash_file(folder / name) != record:
            raise ArtifactError(
                f"{folder / name} is not what was written: delete {folder} and run `monosema {manifest.stage}` again"
            )
