"""What the command line does with a published run: summary, export and import, and serving."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from data.artifacts.features import EXAMPLE_KINDS
from data.errors import ArtifactError, ConfigError, ContractError, ServeError
from data.layout import StorePaths
from data.published.state import open_published
from data.published.tables import PublishedRun
from pipeline.commands import serving, summary
from pipeline.influence import candidates as showpieces
from pipeline.publishing import archive
from tests.support.fakes import publish_fake_run


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> StorePaths:
    store = StorePaths(tmp_path_factory.mktemp("published") / "store")
    publish_fake_run(store)
    return store


@pytest.fixture
def exported(published: StorePaths, tmp_path: Path) -> Path:
    assert archive.export_run(published, None, tmp_path / "run.tar") == "fake"
    return tmp_path / "run.tar"


def test_the_summary_names_every_autoencoder(published: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    summary.print_summary(published, "fake", "http://here")
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("1-relu-64", "1-relu-256", "1-batchtopk-64"))
    first = open_published(published).record.responses["best"][0]
    asked = f"f=tiny/{first['sae']}/{first['index']}:{first['strength']:g}&prompt={quote_plus(first['opening'])}"
    assert f"http://here/steer?{asked}&temperature=0&new_tokens=24" in shown
    assert all(line.isprintable() for line in shown.splitlines()), "what a model writes must not command a terminal"


def test_showpieces_keep_their_promise(published: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showpieces, "MAX_DENSITY", 1.0)
    monkeypatch.setattr(showpieces, "MIN_AGREEMENT", 0.2)
    run = open_published(published)
    tables = PublishedRun(run.folder)
    pieces = showpieces.find_showpieces(tables, [sae.name for sae in run.record.saes], 5)
    assert pieces
    assert len({piece.word.casefold() for piece in pieces}) == len(pieces)
    for piece in pieces:
        where = f"sae = '{piece.sae}' AND index = {piece.index}"
        feature = tables.list_features(where, ["label", "first_example", "num_examples"]).to_pylist()[0]
        assert feature["label"] == piece.label != ""
        top = tables.examples(feature["first_example"], feature["num_examples"], EXAMPLE_KINDS.index("top")).to_pylist()
        tokens = [tables.windows([row["document"]], [row["position"]], [1])[0][0] for row in top]
        words = [tables.vocabulary[token].decode("utf-8", "replace").strip() for token in tokens]
        assert words.count(piece.word) / len(words) == piece.agreement >= 0.2


def test_a_run_comes_back_from_its_file(published: StorePaths, exported: Path, store: StorePaths) -> None:
    assert archive.import_run(store, exported) == "fake"
    there, here = open_published(published), open_published(store)
    assert here.manifest == there.manifest
    assert [sae.metrics for sae in here.record.saes] == [sae.metrics for sae in there.record.saes]
    assert [path.name for path in here.folder.parent.iterdir()] == [here.folder.name]
    with pytest.raises(ConfigError, match="published here already, with this same content"):
        archive.import_run(store, exported)


def test_an_import_that_was_killed_before_it_was_visible_is_done_by_the_next(
    published: StorePaths, exported: Path, store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive, "make_visible", killed)
    with pytest.raises(KeyboardInterrupt):
        archive.import_run(store, exported)
    left = store.run("fake").published(open_published(published).record.key)
    assert left.is_dir()
    (left / "rows.json").unlink()  # whatever a kill may have left
    monkeypatch.undo()
    assert archive.import_run(store, exported) == "fake"
    assert open_published(store).manifest == open_published(published).manifest
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


def test_serving_needs_a_run_of_this_contract(
    published: StorePaths, store: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.require_published(published)
    with pytest.raises(ServeError, match="run `make demo`"):
        serving.require_published(store)
    monkeypatch.setattr(serving, "CONTRACT_VERSION", 99)
    with pytest.raises(ContractError, match="under contract version 2, this code reads version 99"):
        serving.require_published(published)
