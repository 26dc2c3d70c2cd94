"""A label that a candidate won is the feature's one name: in tables, the search, by meaning and on the map."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.arrow import read_arrow
from data.artifacts.features import EXPLANATIONS_FILE, MEANINGS_FILE
from data.artifacts.labels import read_labels
from data.artifacts.responses import RESPONSES_FILE, Responses
from data.layout import RunPaths, StorePaths
from data.manifests import load_manifest
from data.published.state import open_published
from data.published.tables import PublishedRun
from data.published.terms import terms
from pipeline.embeddings.descriptions import describe
from pipeline.examples.peaks import Peak
from pipeline.models.sentences import SentenceEncoder
from pipeline.publishing.folder import _responses
from pipeline.publishing.map_tables import RegionWords
from pipeline.publishing.tables import RunTables
from pipeline.stage import Work
from pipeline.stages import STAGES, embed
from tests.support.fake_run import fake_recipe
from tests.support.fakes import put_manifest
from tests.support.responses import make_demonstration
from tests.support.scores import PROPOSED, SCORED, let_proposal_win
from tests.support.sentences import make_encoder


@pytest.fixture
def run(published_store: StorePaths) -> PublishedRun:
    return PublishedRun(open_published(published_store).folder)


@pytest.fixture
def renamed(run: PublishedRun) -> int:
    """A feature of the first SAE that is live and has candidates."""
    live = run.take("features", list(SCORED), ["live"])["live"].to_pylist()
    return next(index for index, is_live in zip(SCORED, live, strict=True) if is_live)


@pytest.fixture
def paths(published_store: StorePaths, tmp_path: Path, renamed: int) -> RunPaths:
    """A run of which a judge named that feature."""
    shutil.copytree(published_store.root, tmp_path / "store")
    found = StorePaths(tmp_path / "store").run("fake")
    counts = load_manifest(found.stage("score")).counts
    let_proposal_win(found.stage("score"), fake_recipe().sae_names[0], renamed)
    put_manifest(found, "score", counts)
    shutil.rmtree(found.stage("embed"))
    return found


def test_no_other_label_changes(paths: RunPaths, renamed: int) -> None:
    name = fake_recipe().sae_names[0]
    before = read_arrow(paths.stage("explain") / name / EXPLANATIONS_FILE)
    after = read_labels(paths.stage("explain"), paths.stage("score"), name)
    assert after["label"][renamed].as_py() == PROPOSED
    assert (after["label_origin"][renamed].as_py(), after["label_score"][renamed].as_py()) == ("guess", None)
    others = [index for index in range(len(before)) if index != renamed]
    assert after.take(others) == before.take(others)


def test_search_by_meaning_reads_it(paths: RunPaths, run: PublishedRun, renamed: int, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder")
    embed.run(fake_recipe(embed={"source": str(folder)}), paths)
    found = read_arrow(paths.stage("embed") / MEANINGS_FILE)
    record = run.take("search", [renamed], ["texts", "peak_words"]).to_pylist()[0]
    text = describe(PROPOSED, [Peak(word, "", "") for word in record["peak_words"]], record["texts"])
    vector = found["vector"][found["row"].to_pylist().index(renamed)].as_py()
    np.testing.assert_allclose(vector, SentenceEncoder.load(folder).encode([text])[0], atol=1e-2)


def test_tables_search_and_map_have_it(
    paths: RunPaths, run: PublishedRun, renamed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = fake_recipe()
    folders = {stage: paths.stage(stage) for stage in STAGES}
    tables = RunTables(folders, tuple(recipe.sae_names), run.vocabulary, recipe.examples.rare_tokens)
    first = next(iter(tables.others()["features"].make()))
    assert first.column("label")[renamed].as_py() == PROPOSED
    assert next(iter(tables.search(tmp_path).make())).column("label")[renamed].as_py() == terms([PROPOSED])
    points = next(iter(tables.map.points()))
    assert np.isnan(points["label_score"][points["index"].tolist().index(renamed)])
    given: list[list[str]] = []
    add = RegionWords.add
    monkeypatch.setattr(
        RegionWords, "add", lambda self, labels, *rest: (given.append(labels.to_pylist()), add(self, labels, *rest))
    )
    tables.map.regions(tables.telling)
    assert given[0][renamed] == PROPOSED


def test_texts_that_were_written_before_are_published_with_it(paths: RunPaths, renamed: int, tmp_path: Path) -> None:
    recipe = fake_recipe()
    one = make_demonstration(recipe.sae_names[0], renamed, label="as it was called before")
    written = {"shown": Responses(None, chats=(one,), openings=(one,)).as_json()}
    (paths.stage("respond") / RESPONSES_FILE).write_text(json.dumps(written))
    inputs = {name: load_manifest(paths.stage(name)) for name in ("respond", "explain", "score")}
    found = Responses.from_json(_responses(Work(recipe, paths, tmp_path, inputs, "", resumed=False)))
    assert [one.label for one in (*found.chats, *found.openings)] == [PROPOSED, PROPOSED]
