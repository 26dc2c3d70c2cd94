"""The map of a million features: what a view costs is bounded, wherever one looks."""

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.map.views import MAX_CELLS, MAX_POINTS
from backend.settings import Settings
from data.layout import StorePaths
from data.published import maps
from tests.support.map_answers import read_answer
from tests.support.synthetic_run import publish_synthetic_run

NUM_FEATURES = 1_000_000
MAX_BYTES = 1_000_000
MAX_MEMORY = 24_000_000
"""Of one request: the points in reach, those of them in view, the answer, and the same compressed."""


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A map of a million features; the tables, which no view reads, have a thousand."""
    store = StorePaths(tmp_path_factory.mktemp("million") / "store")
    publish_synthetic_run(store, 1000, examples_per_feature=1, num_mapped=NUM_FEATURES)
    with TestClient(create_app(Settings(store=store.root, live=False))) as client:
        yield client


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every range that is read."""
    seen: list[int] = []
    plain = maps._read

    def note(columns: maps.Columns, places: list[tuple[int, int]]) -> maps.Columns:
        seen.extend(stop - start for start, stop in places)
        return plain(columns, places)

    monkeypatch.setattr(maps, "_read", note)
    return seen


@pytest.mark.parametrize("share", [1, 0.6, 0.3, 0.2, 0.1, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("colour", ["sae", "density"])
def test_bytes_and_reads_of_a_view_are_bounded(million: TestClient, reads: list[int], share: float, colour: str):
    run = million.app.state.library.catalogue().runs[0]
    world, rng = run.map.world, np.random.default_rng(0)
    for _ in range(8):
        side = world.size * share
        x, y = world.x0 + rng.random() * (world.size - side), world.y0 + rng.random() * (world.size - side)
        reads.clear()
        query = {"x0": x, "x1": x + side, "y0": y, "y1": y + side, "colour": colour}
        content = million.get("/api/v1/map", params=query).content
        header, arrays = read_answer(content)
        assert len(content) <= MAX_BYTES
        assert len(reads) <= len(run.saes) * (maps.COVER + 1) ** 2
        assert sum(reads) <= (MAX_POINTS if header["kind"] == "points" else MAX_CELLS)
        if share == 1:
            assert header["kind"] == "cells"
            assert arrays["count"].sum() == run.map.num_points
        if share <= 0.01:
            assert header["kind"] == "points"


def test_memory_of_a_view_does_not_grow_with_the_run(million: TestClient):
    run = million.app.state.library.catalogue().runs[0]
    million.get("/api/v1/map")
    tracemalloc.start()
    for share in (1, 0.2, 0.1):
        edge = run.map.world.x0 + share * run.map.world.size
        million.get("/api/v1/map", params={"x1": edge, "colour": "density"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_MEMORY
