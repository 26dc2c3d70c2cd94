import json
from pathlib import Path

import pytest

from data.errors import ArtifactError, ContractError
from data.layout import RunPaths, StorePaths
from data.manifests import (
    Manifest,
    check_hashes,
    check_sizes,
    digest,
    hash_folder,
    load_manifest,
    require_stage,
    write_manifest,
)


@pytest.fixture
def folder(store: StorePaths) -> Path:
    folder = store.run("mine").stage("train")
    (folder / "sae").mkdir(parents=True)
    (folder / "sae" / "weights").write_bytes(b"abc")
    (folder / "notes").write_text("héllo\n")
    (folder / ".scratch").write_text("not part of it")
    write_manifest(folder, make_manifest(folder))
    return folder


def make_manifest(folder: Path) -> Manifest:
    return Manifest(
        stage="train", key="0" * 16, config={"a": [1, None]}, inputs={"harvest": "f" * 16}, seed=3, counts={"rows": 5},
        files=hash_folder(folder), code_version="0", seconds=1.5, created="2026-01-02T00:00:00+00:00",
    )  # fmt: skip


def test_a_manifest_comes_back_as_it_was(folder: Path) -> None:
    assert load_manifest(folder) == make_manifest(folder)
    assert sorted(load_manifest(folder).files) == ["notes", "sae/weights"]


def test_equal_content_has_one_digest() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest({})) == 16


def test_a_changed_byte_is_found_by_its_hash(folder: Path) -> None:
    manifest = load_manifest(folder)
    check_hashes(folder, manifest)
    (folder / "sae" / "weights").write_bytes(b"abd")
    check_sizes(folder, manifest)
    with pytest.raises(ArtifactError, match="sae/weights is not what was written"):
        check_hashes(folder, manifest)


@pytest.mark.parametrize(("content", "said"), [(b"ab", "has 2 bytes instead of 3"), (None, "is missing")])
def test_a_truncated_or_missing_file_is_found_by_its_size(folder: Path, content: bytes | None, said: str) -> None:
    path = folder / "sae" / "weights"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ArtifactError, match=said):
        check_sizes(folder, load_manifest(folder))


def test_another_contract_version_is_refused(folder: Path) -> None:
    raw = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**raw, "contract": 0}))
    with pytest.raises(ContractError, match="artifact version 0"):
        load_manifest(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"contract": 1}'])
def test_a_damaged_manifest_is_reported(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ArtifactError):
        load_manifest(folder)


def test_a_missing_stage_names_the_command_that_makes_it(store: StorePaths) -> None:
    paths: RunPaths = store.run("mine")
    with pytest.raises(ArtifactError, match="run `monosema harvest` first"):
        require_stage(paths, "harvest")
