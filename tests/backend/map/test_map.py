import math
from urllib.parse import urlencode

import numpy as np
import pytest
from fastapi.testclient import TestClient

from backend.map import selection as map_selection
from backend.map import views as map_views
from backend.map.selection import contains, read_polygon
from backend.published.catalogue import OpenRun
from tests.support.fake_run import DEAD, MARKED
from tests.support.map_answers import read_answer


@pytest.fixture
def run(client: TestClient) -> OpenRun:
    return client.app.state.library.catalogue().runs[0]


@pytest.fixture
def features(run: OpenRun) -> list[dict]:
    """Every live feature, read plainly."""
    columns = ["sae", "index", "x", "y", "density", "label", "label_score", "live"]
    rows = run.tables.take("features", range(run.tables.count("features")), columns).to_pylist()
    return [row for row in rows if row["live"]]


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the run had too many points to send them."""
    monkeypatch.setattr(map_views, "MAX_POINTS", 20)


def view(client: TestClient, **query: object) -> tuple[dict, dict[str, np.ndarray]]:
    answer = client.get("/api/v1/map", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    return read_answer(answer.content)


def test_the_whole_map_has_every_live_feature_once_in_its_place(client, features):
    header, arrays = view(client)
    assert (header["kind"], header["level"]) == ("points", None)
    found = sorted(zip(arrays["sae"], arrays["index"], arrays["x"], arrays["y"], strict=True))
    assert found == sorted((f["sae"], f["index"], f["x"], f["y"]) for f in features)
    assert DEAD not in arrays["index"][arrays["sae"] == "1-relu-64"]


def test_a_view_has_the_points_inside_it_of_the_saes_asked_for(client, features):
    x, y = np.median([f["x"] for f in features]), np.median([f["y"] for f in features])
    _, arrays = view(client, x0=x, y1=y, saes="1-batchtopk-64,1-relu-256")
    expected = {
        (f["sae"], f["index"])
        for f in features
        if f["x"] >= x and f["y"] <= y and f["sae"] in ("1-batchtopk-64", "1-relu-256")
    }
    assert expected
    assert set(zip(arrays["sae"].tolist(), arrays["index"].tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("colour", "value"),
    [("density", lambda f: math.log10(f["density"])), ("score", lambda f: f["label_score"] or math.nan)],
)
def test_points_come_with_the_value_that_colours_them(client, features, colour, value):
    _, arrays = view(client, colour=colour)
    values = {(f["sae"], f["index"]): value(f) for f in features}
    expected = [values[key] for key in zip(arrays["sae"].tolist(), arrays["index"].tolist(), strict=True)]
    if colour == "score":
        arrays["value"] = np.where(arrays["value"] == 0, np.nan, arrays["value"])
    np.testing.assert_allclose(arrays["value"], expected, rtol=1e-5)


@pytest.mark.usefixtures("cells")
def test_too_many_points_come_as_counts_that_add_up(client, features):
    header, arrays = view(client, colour="density")
    assert header["kind"] == "cells"
    world, size = header["world"], header["world"]["size"] / 2 ** header["level"]
    naive: dict[tuple[str, int, int], list[float]] = {}
    for f in features:
        key = (f["sae"], int((f["x"] - world["x0"]) / size), int((f["y"] - world["y0"]) / size))
        naive.setdefault(key, []).append(math.log10(f["density"]))
    keys = zip(*(arrays[name].tolist() for name in ("sae", "column", "row")), strict=True)
    found = dict(zip(keys, zip(arrays["count"].tolist(), arrays["value"].tolist(), strict=True), strict=True))
    assert {key: count for key, (count, _) in found.items()} == {key: len(parts) for key, parts in naive.items()}
    assert all(found[key][1] == pytest.approx(np.mean(parts), abs=1e-4) for key, parts in naive.items())


@pytest.mark.usefixtures("cells")
def test_cells_are_the_finest_that_fit(client, monkeypatch):
    finest, _ = view(client)
    monkeypatch.setattr(map_views, "MAX_CELLS", 40)
    coarse, arrays = view(client)
    assert 0 < coarse["level"] < finest["level"]
    assert len(arrays["count"]) <= 40
    monkeypatch.setattr(map_views, "MAX_CELLS", 0)
    assert view(client)[0]["level"] == 0


@pytest.mark.usefixtures("cells")
def test_points_follow_cells_when_one_comes_near(client, features):
    f = features[0]
    near = {"x0": f["x"] - 1e-4, "x1": f["x"] + 1e-4, "y0": f["y"] - 1e-4, "y1": f["y"] + 1e-4}
    header, arrays = view(client, **near)
    assert header["kind"] == "points"
    assert (f["sae"], f["index"]) in set(zip(arrays["sae"].tolist(), arrays["index"].tolist(), strict=True))


def test_a_view_can_be_kept_under_the_key_of_what_is_published(client, run):
    plain = client.get("/api/v1/map")
    assert plain.headers["cache-control"] == "no-cache"
    again = client.get("/api/v1/map", headers={"if-none-match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    kept = client.get("/api/v1/map", params={"key": run.record.key})
    assert "immutable" in kept.headers["cache-control"]
    assert client.get("/api/v1/map", params={"key": "older"}).headers["cache-control"] == "no-cache"
    assert client.get("/api/v1/map?colour=density").headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"x0": 1, "x1": 0}, 422, "inverted"),
        ({"x0": "nan"}, 422, "x0"),
        ({"y1": "inf"}, 422, "y1"),
        ({"colour": "red"}, 422, "colour"),
        ({"saes": "none"}, 404, "no SAE 'none'"),
        ({"run": "none"}, 404, "no run"),
    ],
)
def test_a_view_that_is_none_says_what_is_wrong(client, query, status, says):
    answer = client.get("/api/v1/map", params=query)
    assert answer.status_code == status
    assert says in answer.json()["detail"]


def test_a_view_beside_the_map_is_empty(client):
    header, _ = view(client, x0=1e6, x1=2e6)
    assert [sae["count"] for sae in header["saes"]] == [0, 0, 0]


# ---- what is picked out


def test_a_point_is_inside_a_shape_as_a_naive_count_of_crossings_says():
    star = np.array([[0, 3], [1, 1], [3, 1], [1.5, -0.5], [2, -3], [0, -1.5], [-2, -3], [-1.5, -0.5], [-3, 1], [-1, 1]])
    points = np.random.default_rng(0).uniform(-3, 3, (500, 2))
    angles = [
        sum(
            (np.arctan2(*(b - p)[::-1]) - np.arctan2(*(a - p)[::-1]) + np.pi) % (2 * np.pi) - np.pi
            for a, b in zip(star, np.roll(star, -1, 0), strict=True)
        )
        for p in points
    ]
    assert contains(star, points).tolist() == [abs(angle) > np.pi for angle in angles]


def select(client: TestClient, corners: list[tuple[float, float]], **query: str) -> dict:
    text = ",".join(f"{value}" for corner in corners for value in corner)
    page = client.get("/explore", params={"sel": text, **query})
    assert page.status_code == 200
    return page.context


def box(features: list[dict]) -> list[tuple[float, float]]:
    xs, ys = [f["x"] for f in features], [f["y"] for f in features]
    (x0, x1), (y0, y1) = ((min(v) - 1e-6, max(v) + 1e-6) for v in (xs, ys))
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def test_a_shape_selects_the_features_inside_it(pages, features):
    some = sorted(features, key=lambda f: f["x"])[:9]
    corners = box(some)
    inside = [
        f for f in features if corners[0][0] <= f["x"] <= corners[1][0] and corners[0][1] <= f["y"] <= corners[2][1]
    ]
    selected = select(pages, corners)["selected"]
    assert {(f.sae, f.index) for f in selected.features} == {(f["sae"], f["index"]) for f in inside}
    assert selected.total == len(inside) >= 9
    hidden = select(pages, corners, hide="1-relu-256")["selected"]
    assert {f.sae for f in hidden.features} == {f["sae"] for f in inside} - {"1-relu-256"}


def test_of_many_those_nearest_to_the_middle_are_listed(pages, features, monkeypatch):
    monkeypatch.setattr(map_selection, "MAX_SELECTED", 5)
    corners = box(features)
    middle = np.mean(corners, 0)
    selected = select(pages, corners)["selected"]
    nearest = sorted(features, key=lambda f: (f["x"] - middle[0]) ** 2 + (f["y"] - middle[1]) ** 2)[:5]
    assert selected.total == len(features)
    assert [(f.sae, f.index) for f in selected.features] == [(f["sae"], f["index"]) for f in nearest]


def test_a_shape_around_too_many_says_so(pages, features, monkeypatch):
    monkeypatch.setattr(map_selection, "MAX_POINTS", 10)
    text = ",".join(f"{value}" for corner in box(features) for value in corner)
    page = pages.get("/explore", params={"sel": text})
    assert page.context["selected"].total is None
    assert "Too many to select" in page.text


@pytest.mark.parametrize("text", ["1,2", "a,b,c,d,e,f", "1,2,3,4,5", "0,0,nan,1,1,1", ",".join(["1"] * 202)])
def test_a_shape_that_is_none_says_how_one_is(client, text):
    answer = client.get("/explore", params={"sel": text})
    assert answer.status_code == 422
    assert "3 to 100 corners" in answer.text


def test_corners_are_read_in_pairs():
    assert read_polygon("0,1,2.5,-3,4,5e-1").tolist() == [[0, 1], [2.5, -3], [4, 0.5]]


def test_a_search_marks_what_it_finds_where_it_lies(pages, features):
    page = pages.get("/explore", params={"q": "OXF"})
    answers = [pages.get("/api/v1/search", params={"q": "oxf", "per_page": 100, "page": n}).json() for n in range(1, 6)]
    found = [hit["feature"] for answer in answers for hit in answer["hits"]]
    place_of = {(f["sae"], f["index"]): (f["x"], f["y"]) for f in features}
    expected = [(f["sae"], f["index"], *place_of[f["sae"], f["index"]]) for f in found]
    hits = page.context["hits"]
    assert [(h.feature.sae, h.feature.index, h.x, h.y) for h in hits.hits] == expected
    labelled = {(f["sae"], f["index"]) for f in features if "oxf" in f["label"].lower()}
    assert set() < labelled < {where[:2] for where in expected}, "by more than labels"
    assert not hits.more
    saes = list(dict.fromkeys(sae.name for sae in page.context["run"].saes))
    assert page.context["marks"] == [(saes.index(h.feature.sae), h.x, h.y) for h in hits.hits]


def test_a_search_keeps_to_what_is_shown_and_ends_somewhere(pages, monkeypatch):
    asked = {"q": "a", "hide": "1-relu-256"}
    everything = pages.get("/explore", params={"q": "a"}).context["hits"].hits
    shown = pages.get("/explore", params=asked).context["hits"]
    assert {h.feature.sae for h in everything} == {"1-relu-64", "1-relu-256", "1-batchtopk-64"}
    names = [h.feature.name for h in everything if h.feature.sae != "1-relu-256"]
    assert [h.feature.name for h in shown.hits] == names
    monkeypatch.setattr(map_selection, "MAX_HITS", 3)
    page = pages.get("/explore", params=asked)
    assert [h.feature.name for h in page.context["hits"].hits] == names[:3]
    assert "More than 3 features have" in page.text


def test_hostile_labels_and_searches_are_literal_on_the_page(client):
    page = client.get("/explore", params={"q": "<svg onload=alert(6)>"}).text
    assert "<svg onload" not in page
    assert "&lt;svg onload=alert(6)&gt;" in page
    assert f"/tiny/1-relu-64/{MARKED}" in page


def test_the_state_stays_in_the_links_that_take_a_part_of_it_away(pages):
    state = {"f": "tiny/1-relu-64/3", "q": "a", "sel": "0,0,1,0,1,1", "hide": "1-relu-256", "colour": "density"}
    page = pages.get("/explore", params=state)
    rest = {name: value for name, value in state.items() if name != "sel"}
    assert page.context["asked"].href(sel="") == "/explore?" + urlencode(rest)
    assert dict(page.context["kept"]) == {name: value for name, value in state.items() if name != "q"}


def test_a_feature_in_focus_is_seen_from_near_with_its_neighbours_marked(pages, features):
    page = pages.get("/explore", params={"f": "tiny/1-relu-64/3"})
    place_of = {(f["sae"], f["index"]): (f["x"], f["y"]) for f in features}
    x, y = place_of["1-relu-64", 3]
    x0, x1, y0, y1 = page.context["figure"]["view"]
    world = page.context["figure"]["world"]
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((x, y))
    assert x1 - x0 <= max(world[1] - world[0], world[3] - world[2]) / 2
    near = [
        one.feature for group in page.context["neighbours"] for one in group.neighbours.nearest if not one.feature.dead
    ]
    assert [mark[1:] for mark in page.context["marks"]] == [place_of[f.sae, f.index] for f in near]
    assert pages.get("/explore").context["figure"]["view"] == world


def test_a_shape_of_more_than_a_list_takes_says_what_is_left_out(pages, features, monkeypatch):
    monkeypatch.setattr(map_selection, "MAX_SELECTED", 60)
    page = pages.get("/explore", params={"sel": ",".join(f"{v}" for corner in box(features) for v in corner)})
    total = page.context["selected"].total
    assert f"a list takes the 60 nearest and leaves out the other {total - 60}" in page.text


def test_a_dead_feature_in_focus_has_no_place(pages):
    page = pages.get("/explore", params={"f": f"tiny/1-relu-64/{DEAD}"})
    assert page.context["figure"]["place"] is None
    assert "so it is not on the map" in page.text


@pytest.fixture
def unscored(run: OpenRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(run.map), "has_scores", False)


def test_scores_colour_the_map_only_where_there_are_some(pages):
    assert [name for name, _ in pages.get("/explore").context["colours"]] == ["sae", "density", "score"]


@pytest.mark.usefixtures("unscored")
def test_without_scores_there_is_no_such_colour(pages):
    assert [name for name, _ in pages.get("/explore").context["colours"]] == ["sae", "density"]
