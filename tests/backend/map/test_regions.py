import pytest
from fastapi.testclient import TestClient

from backend.map.regions import read_view, side_at
from backend.published.catalogue import OpenRun
from data.published.regions import PublishedRegions, Region, write_regions
from tests.support.pages import Page

ADDRESS = "/api/v1/map/regions"


@pytest.fixture
def run(client: TestClient) -> OpenRun:
    return client.app.state.library.catalogue().runs[0]


@pytest.fixture
def regions(run: OpenRun, tmp_path, monkeypatch) -> list[Region]:
    """Named places, one in each quarter of the map, the third one small, the last one's name markup."""
    world = run.map.world
    middles = [
        (world.x0 + a * world.size, world.y0 + b * world.size)
        for a, b in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75))
    ]
    names = zip(("kings, queens", "years", "football", "<b>x</b>"), middles, (320, 320, 2560, 453), strict=True)
    made = [Region(name, *middle, side, 7) for name, middle, side in names]
    write_regions(tmp_path, made)
    monkeypatch.setitem(run.__dict__, "regions", PublishedRegions(tmp_path))
    return made


def test_the_places_of_a_view_are_named_as_far_as_they_have_room(client, run, regions):
    found = client.get(ADDRESS, params={"side": 640}).json()
    assert [one["name"] for one in found] == ["kings, queens", "years", "<b>x</b>"]
    middle = run.map.world.x0 + run.map.world.size / 2
    assert [one["name"] for one in client.get(ADDRESS, params={"side": 1e6, "x1": middle}).json()] == [
        "kings, queens",
        "football",
    ]
    assert client.get(ADDRESS, params={"side": 0}).status_code == 422
    assert "inverted" in client.get(ADDRESS, params={"x0": 5, "x1": -5}).json()["detail"]


def test_the_page_lists_the_places_in_view_with_links_to_them(client, run, regions):
    page = Page(client.get("/explore?minor=1").text)
    assert "Places in view" in page.text
    links = {link for link in page.links() if "view=" in link}
    assert len(links) == 3
    assert all("minor=1" in link for link in links)
    assert "<b>x</b>" in page.text
    for link in links:
        assert client.get(f"/explore{link.removeprefix('/explore')}").status_code == 200


def test_a_link_shows_the_place_it_names(client, run, regions):
    one = client.get(ADDRESS).json()[0]
    view = read_view(run, one["view"])
    assert view.x0 < one["x"] < view.x1
    assert view.y0 < one["y"] < view.y1
    assert view.x1 - view.x0 < run.map.world.size
    assert side_at(run, view) >= one["side"]


@pytest.mark.parametrize("text", ["", "a,b,c,d", "1,2,3", "1,0,0,1", "nan,nan,0,1"])
def test_an_address_without_a_rectangle_shows_the_whole_map(client, run, text):
    assert read_view(run, text) == run.map.world.view
    assert client.get("/explore", params={"view": text}).status_code == 200


def test_names_can_be_kept_under_the_key_of_what_is_published(client, run):
    assert client.get(ADDRESS).headers["cache-control"] == "no-cache"
    assert "immutable" in client.get(ADDRESS, params={"key": run.record.key}).headers["cache-control"]


def test_the_fake_run_has_names(run):
    assert all(region.name and region.num_features >= 4 for region in run.regions.within(run.map.world.view, 1e9, 50))
