"""The synthetic run is what benchmarks measure: it must hold together as a real one does."""

from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.published.catalogue import OpenRun
from backend.settings import Settings
from data.artifacts.features import EXAMPLE_KINDS
from data.layout import StorePaths
from tests.support.synthetic_block import DEAD_EVERY
from tests.support.synthetic_run import NEAREST, SyntheticRun, publish_synthetic_run

NUM_FEATURES, EXAMPLES = 3000, 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[StorePaths, SyntheticRun]:
    store = StorePaths(tmp_path_factory.mktemp("synthetic") / "store")
    return store, publish_synthetic_run(store, NUM_FEATURES, examples_per_feature=EXAMPLES)


@pytest.fixture(scope="module")
def client(made: tuple[StorePaths, SyntheticRun]) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(store=made[0].root, live=False))) as client:
        yield client


@pytest.fixture
def run(client: TestClient) -> OpenRun:
    return client.app.state.library.catalogue().runs[0]


def test_examples_stand_where_their_features_say(run: OpenRun) -> None:
    features = run.tables.take("features", range(NUM_FEATURES)).to_pylist()
    owner = run.tables.take("examples", range(run.tables.count("examples")), ["row", "kind"]).to_pylist()
    assert sum(sum(feature["num_examples"]) for feature in features) == len(owner)
    for row, feature in enumerate(features):
        own = owner[feature["first_example"] :][: sum(feature["num_examples"])]
        kinds = [kind for kind, count in enumerate(feature["num_examples"]) for _ in range(count)]
        assert own == [{"row": row, "kind": kind} for kind in kinds]
        assert sum(feature["histogram"]) == feature["num_active"]
        assert bool(feature["label"]) == bool(feature["num_active"]) == (feature["index"] % DEAD_EVERY < DEAD_EVERY - 1)


def test_neighbours_are_others_and_near(run: OpenRun) -> None:
    vectors = np.array(run.tables.take("features", range(NUM_FEATURES), ["vector"])["vector"].to_pylist())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    for sae in run.saes:
        for index in (0, 7, sae.num_features - 1):
            indices_SK, cosines_SK = run.tables.neighbours(sae.row(index), len(run.saes))
            assert index not in indices_SK[sae.record.position]
            assert indices_SK.shape == (len(run.saes), NEAREST)
            assert (np.diff(cosines_SK) <= 0).all()
            near = [other.row(i) for other, row in zip(run.saes, indices_SK, strict=True) for i in row if i >= 0]
            assert (vectors[near] @ vectors[sae.row(index)]).mean() > (vectors @ vectors[sae.row(index)]).mean() + 0.1


def test_every_live_feature_is_on_the_map_in_its_cluster(run: OpenRun) -> None:
    features = run.tables.take("features", range(NUM_FEATURES), ["index", "x", "y", "label"]).to_pylist()
    live = [feature for feature in features if feature["label"]]
    points = [run.map.points(run.map.world.view, sae.record.position) for sae in run.saes]
    on_map = [(int(i), x, y) for part in points for i, x, y in zip(part["index"], part["x"], part["y"], strict=True)]
    assert sorted(on_map) == sorted((f["index"], f["x"], f["y"]) for f in live)
    assert len(live) == run.tables.count_features("num_active > 0")
    places: dict[str, list[tuple[float, float]]] = {}
    for p in live:
        places.setdefault(p["label"].split()[0], []).append((p["x"], p["y"]))
    inside = np.concatenate([np.array(xy) - np.mean(xy, 0) for xy in places.values()])
    assert inside.std() < 0.3 * np.std([xy for cluster in places.values() for xy in cluster])


@pytest.mark.parametrize("path", ["/", "/explore", "/search?q=ka", "/synthetic/{sae}", "/synthetic/{sae}/{index}"])
def test_the_server_serves_it(client: TestClient, run: OpenRun, path: str) -> None:
    for sae in run.saes:
        for index in (0, DEAD_EVERY - 1, sae.num_features - 1):
            for kind in EXAMPLE_KINDS:
                if index < sae.num_features:
                    address = path.format(sae=sae.name, index=index)
                    params = {"kind": kind} if "{index}" in path else {}
                    assert client.get(address, params=params).status_code == 200
                if "{index}" not in path:
                    break


def test_too_few_features_are_refused(store: StorePaths) -> None:
    with pytest.raises(AssertionError, match="at least"):
        publish_synthetic_run(store, 20)
