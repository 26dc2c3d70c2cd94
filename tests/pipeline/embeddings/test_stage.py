"""Stage `embed` on the artifacts of the fake run, against a description and a vector made one by one."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from data.arrow import read_arrow
from data.artifacts.features import MEANINGS_FILE
from data.layout import RunPaths, StorePaths
from data.published.state import open_published
from data.published.tables import PublishedRun
from pipeline.embeddings.descriptions import describe
from pipeline.examples.peaks import Peak
from pipeline.models.sentences import SentenceEncoder
from pipeline.stages import embed
from tests.support.fake_run import fake_recipe
from tests.support.sentences import make_encoder


@pytest.fixture
def paths(published_store: StorePaths, tmp_path: Path) -> RunPaths:
    shutil.copytree(published_store.root, tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "runs" / "fake" / "embed")
    return StorePaths(tmp_path / "store").run("fake")


def test_every_live_feature_has_the_vector_of_its_description(paths: RunPaths, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder")
    manifest = embed.run(fake_recipe(embed={"source": str(folder)}), paths)
    found = read_arrow(paths.stage("embed") / MEANINGS_FILE)
    run, encoder = PublishedRun(open_published(paths.store).folder), SentenceEncoder.load(folder)
    rows = found["row"].to_pylist()
    features = run.take("features", range(run.count("features")), ["num_active", "negligible", "label"]).to_pylist()
    assert all(features[row]["num_active"] > 0 and not features[row]["negligible"] for row in rows)
    assert rows == sorted(set(rows))
    assert manifest.counts == {"encoder": str(folder), "width": encoder.width, "num_features": len(rows)}
    for row, vector in list(zip(rows, found["vector"].to_pylist(), strict=True))[::20]:
        record = run.take("search", [row], ["texts", "peak_words"]).to_pylist()[0]
        peaks = [Peak(word, "", "") for word in record["peak_words"]]
        text = describe(features[row]["label"], peaks, record["texts"])
        np.testing.assert_allclose(vector, encoder.encode([text])[0], atol=1e-2)


def test_a_recipe_that_turns_it_off_writes_nothing(paths: RunPaths) -> None:
    manifest = embed.run(fake_recipe(), paths)
    assert manifest.counts == {"encoder": None, "num_features": 0}
    assert not (paths.stage("embed") / MEANINGS_FILE).exists()
