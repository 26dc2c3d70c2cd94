from pathlib import Path

import numpy as np
import pytest

from data.published.maps import (
    COVER,
    DEPTH,
    PublishedMap,
    View,
    World,
    num_levels,
    world_of,
    write_map,
)
from data.published.morton import interleave, separate

COUNTS = (900, 0, 4000)
VIEWS = [
    View(-100, 100, -100, 100),
    View(-1, 1, -1, 1),
    View(0, 0.3, -0.1, 5),
    View(0.5, 0.5, 0.25, 0.25),
    View(-3, 0, 0.111, 0.112),
    View(50, 60, 0, 1),
]


def make_points(count: int, seed: int) -> dict[str, np.ndarray]:
    """Points of which many share a place."""
    rng = np.random.default_rng(seed)
    xy = np.where(rng.random((count, 1)) < 0.2, (0.5, 0.25), rng.standard_normal((count, 2))).astype(np.float32)
    score = np.where(rng.random(count) < 0.3, np.nan, rng.random(count)).astype(np.float32)
    density = (10 ** rng.uniform(-6, 0, count)).astype(np.float32)
    index = rng.permutation(2 * count)[:count].astype(np.int32)
    places = {"x": xy[:, 0].copy(), "y": xy[:, 1].copy()}
    return {"index": index, **places, "density": density, "label_score": score, "live": np.ones(count, bool)}


@pytest.fixture(scope="module")
def points() -> list[dict[str, np.ndarray]]:
    return [make_points(count, seed) for seed, count in enumerate(COUNTS)]


@pytest.fixture(scope="module")
def map_(points: list[dict[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> PublishedMap:
    folder = tmp_path_factory.mktemp("published") / "map"
    world = world_of(*(np.concatenate([part[axis] for part in points]) for axis in "xy"))
    write_map(folder, world, sum(COUNTS), points)
    return PublishedMap(folder)


def test_codes_are_the_bits_of_column_and_row_in_turn() -> None:
    column, row = np.array([0, 1, 2, 5, 2**DEPTH - 1]), np.array([0, 0, 3, 6, 2**DEPTH - 1])
    codes = interleave(column, row)
    naive = [
        sum((c >> bit & 1) << 2 * bit | (r >> bit & 1) << 2 * bit + 1 for bit in range(DEPTH))
        for c, r in zip(column.tolist(), row.tolist(), strict=True)
    ]
    assert codes.tolist() == naive
    assert [part.tolist() for part in separate(codes)] == [column.tolist(), row.tolist()]


def test_the_world_is_a_square_with_all_points_in_it(map_: PublishedMap, points: list[dict[str, np.ndarray]]) -> None:
    view = map_.world.view
    assert view.x1 - view.x0 == pytest.approx(view.y1 - view.y0) == pytest.approx(map_.world.size)
    for part in points:
        assert ((part["x"] > view.x0) & (part["x"] < view.x1) & (part["y"] > view.y0) & (part["y"] < view.y1)).all()
    assert map_.num_points == sum(COUNTS)
    assert world_of(np.zeros(0, np.float32), np.zeros(0, np.float32)) == World(0, 0, 1)
    assert world_of(np.ones(1, np.float32), np.ones(1, np.float32)) == World(0.5, 0.5, 1)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("sae", range(len(COUNTS)))
def test_the_points_of_a_view_are_those_that_lie_in_it(
    map_: PublishedMap, points: list[dict[str, np.ndarray]], view: View, sae: int
) -> None:
    part, found = points[sae], map_.points(view, sae)
    x0, x1, y0, y1 = (np.float32(edge) for edge in view)
    inside = (part["x"] >= x0) & (part["x"] <= x1) & (part["y"] >= y0) & (part["y"] <= y1)
    assert sorted(found["index"].tolist()) == sorted(part["index"][inside].tolist())
    assert (np.diff(found["code"].astype(np.int64)) >= 0).all()
    order, naive = np.argsort(found["index"]), np.argsort(part["index"][inside])
    for name in ("x", "y", "density", "label_score"):
        np.testing.assert_array_equal(found[name][order], part[name][inside][naive])
    assert len(found["index"]) <= map_.reach(view, sae) <= len(part["x"])


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("sae", range(len(COUNTS)))
def test_cells_count_the_points_in_them(
    map_: PublishedMap, points: list[dict[str, np.ndarray]], view: View, sae: int
) -> None:
    part, world = points[sae], map_.world
    for level in range(map_.levels):
        cells, size = map_.cells(view, sae, level), world.size / 2**level
        naive: dict[tuple[int, int], list[int]] = {}
        for place, (x, y) in enumerate(zip(part["x"].tolist(), part["y"].tolist(), strict=True)):
            naive.setdefault((int((x - world.x0) / size), int((y - world.y0) / size)), []).append(place)
        touched = {
            (c, r): places
            for (c, r), places in naive.items()
            if world.x0 + c * size <= view.x1 and world.x0 + (c + 1) * size > view.x0
            if world.y0 + r * size <= view.y1 and world.y0 + (r + 1) * size > view.y0
        }
        found = zip(cells["column"].tolist(), cells["row"].tolist(), cells["count"].tolist(), strict=True)
        assert {(c, r): count for c, r, count in found} == {key: len(places) for key, places in touched.items()}
        assert len(cells["count"]) <= map_.num_cells(view, sae, level)
        for c, r, mean, score in zip(
            cells["column"], cells["row"], cells["log_density"], cells["label_score"], strict=True
        ):
            places = touched[int(c), int(r)]
            assert mean == pytest.approx(np.log10(part["density"][places]).mean(), abs=1e-4)
            known = part["label_score"][places][~np.isnan(part["label_score"][places])]
            assert np.isnan(score) if len(known) == 0 else score == pytest.approx(known.mean(), abs=1e-5)


def test_minor_points_are_there_when_they_are_asked_for(tmp_path: Path) -> None:
    part = make_points(500, 7) | {"live": np.arange(500) % 3 > 0}
    world = world_of(part["x"], part["y"])
    write_map(tmp_path / "map", world, 500, [part, make_points(40, 8)])
    map_ = PublishedMap(tmp_path / "map")
    assert (map_.num_points, map_.num_minor) == (part["live"].sum() + 40, (~part["live"]).sum())
    live, both = (map_.points(world.view, 0, minor=minor)["index"] for minor in (False, True))
    assert sorted(live.tolist()) == sorted(part["index"][part["live"]].tolist())
    assert sorted(both.tolist()) == sorted(part["index"].tolist())
    for level in range(map_.levels):
        counts = [map_.cells(world.view, 0, level, minor=minor)["count"].sum() for minor in (False, True)]
        assert counts == [part["live"].sum(), 500]
        assert len(np.unique(map_.cells(world.view, 0, level, minor=True)["code"])) == map_.num_cells(
            world.view, 0, level, minor=True
        )
    assert len(map_.points(world.view, 1, minor=True)["x"]) == 40


def test_the_smallest_view_that_numbers_can_say_is_covered(map_: PublishedMap) -> None:
    tiny = 5e-324 * max(2, 2 * map_.world.size)
    assert len(map_._cover(View(0.0, tiny, 0.0, tiny), DEPTH).start) == 1


def test_a_view_is_covered_by_few_ranges(map_: PublishedMap) -> None:
    rng = np.random.default_rng(0)
    for side in 10.0 ** rng.uniform(-6, 2, 200):
        x, y = rng.uniform(-3, 3, 2)
        assert len(map_._cover(View(x, x + side, y, y + side / 3), DEPTH).start) <= (COVER + 1) ** 2


def test_scores_are_offered_only_where_there_are_some(tmp_path: Path, map_: PublishedMap) -> None:
    assert map_.has_scores
    part = make_points(10, 3) | {"label_score": np.full(10, np.nan, np.float32)}
    write_map(tmp_path / "map", world_of(part["x"], part["y"]), 10, [part])
    assert not PublishedMap(tmp_path / "map").has_scores


def test_a_map_without_points_can_be_read(tmp_path: Path) -> None:
    write_map(tmp_path / "map", World(0, 0, 1), 0, [make_points(0, 0), make_points(0, 1)])
    map_ = PublishedMap(tmp_path / "map")
    assert map_.reach(map_.world.view, 1) == 0
    assert len(map_.points(map_.world.view, 1)["x"]) == 0
    assert len(map_.cells(map_.world.view, 0, 0)["code"]) == 0
    assert not map_.has_scores


@pytest.mark.parametrize(
    ("points", "levels"), [(0, 3), (1, 3), (4, 4), (25_600, 11), (2**20, 13), (2**25, 16), (2**40, 16)]
)
def test_levels_grow_with_the_points_up_to_the_depth(points: int, levels: int) -> None:
    assert num_levels(points) == levels
