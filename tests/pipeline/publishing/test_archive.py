"""Export of a published run to one file, and its import."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import ArtifactError, ConfigError, ContractError, ServeError
from data.layout import StorePaths
from data.published.state import open_published
from pipeline.commands import serving
from pipeline.publishing import archive
from tests.support.fakes import publish_fake_run


@pytest.fixture
def exported(published_store: StorePaths, tmp_path: Path) -> Path:
    assert archive.export_run(published_store, None, tmp_path / "run.tar") == "fake"
    return tmp_path / "run.tar"


def test_a_run_comes_back_from_its_file(published_store: StorePaths, exported: Path, store: StorePaths) -> None:
    assert archive.import_run(store, exported) == "fake"
    there, here = open_published(published_store), open_published(store)
    assert here.manifest == there.manifest
    assert [sae.metrics for sae in here.record.saes] == [sae.metrics for sae in there.record.saes]
    assert [path.name for path in here.folder.parent.iterdir()] == [here.folder.name]
    with pytest.raises(ConfigError, match="published here already, with this same content"):
        archive.import_run(store, exported)


def test_an_import_that_was_killed_before_it_was_visible_is_done_by_the_next(
    published_store: StorePaths, exported: Path, store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "make_visible", killed)
    with pytest.raises(KeyboardInterrupt):
        archive.import_run(store, exported)
    left = store.run("fake").published(open_published(published_store).record.key)
    assert left.is_dir()
    (left / "rows.json").unlink()  # whatever a kill may have left
    monkeypatch.undo()
    assert archive.import_run(store, exported) == "fake"
    assert open_published(store).manifest == open_published(published_store).manifest
    assert [path.name for path in left.parent.iterdir()] == [left.name]


def test_an_import_never_replaces_a_run_of_that_name(exported: Path, store: StorePaths) -> None:
    publish_fake_run(store, seed=1)
    before = open_published(store).manifest
    with pytest.raises(ConfigError, match="with another content: import into another store"):
        archive.import_run(store, exported)
    assert open_published(store).manifest == before


def repacked(exported: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> Path:
    target = exported.with_name("changed.tar")
    with tarfile.open(exported) as source, tarfile.open(target, "w") as tar:
        for member in source:
            file = source.extractfile(member)
            assert file is not None
            member, content = change(member, file.read())
            member.size = len(content)
            import io

            tar.addfile(member, io.BytesIO(content))
    return target


def set_head(**fields: object) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if member.name == archive.HEAD:
            content = json.dumps({**json.loads(content), **fields}).encode()
        return member, content

    return change


def test_a_file_of_another_contract_or_with_a_name_that_leads_elsewhere(exported: Path, store: StorePaths) -> None:
    with pytest.raises(ContractError, match="of contract version 99"):
        archive.import_run(store, repacked(exported, set_head(contract=99)))
    with pytest.raises(ArtifactError, match="is no exported run"):
        archive.import_run(store, repacked(exported, set_head(run="../../elsewhere")))

    def escape(member: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        return member.replace(name=member.name.replace("run/rows.json", "run/../../../../rows.json")), content

    with pytest.raises(ArtifactError, match="is damaged"):
        archive.import_run(store, repacked(exported, escape))
    assert not list(store.root.rglob("rows.json"))


def test_a_damaged_file_publishes_nothing(exported: Path, store: StorePaths) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="export it again"):
        archive.import_run(store, exported)

    flipped = bytearray(content)
    place = content.index(b'"explained_variance"')
    flipped[place + 3] ^= 1
    exported.write_bytes(flipped)
    with pytest.raises(ArtifactError, match="is not what was written"):
        archive.import_run(store, exported)
    with pytest.raises(ServeError, match="nothing is published"):
        serving.require_published(store)
