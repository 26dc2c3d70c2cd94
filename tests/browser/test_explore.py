import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from backend.map import selection as map_selection
from backend.map import views as map_views
from data.layout import StorePaths
from data.published.maps import PublishedMap
from data.published.regions import PublishedRegions, Region, write_regions
from data.published.state import open_published
from data.published.tables import PublishedRun
from tests.support.fake_run import MARKED
from tests.support.navigation import arrive
from tests.support.views import SERIOUS, check_view, in_every_view

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
FEATURE = "tiny/1-relu-256/3"
READY = "#map[data-drawn]:not([data-asking])"
HOSTILE = '<svg onload=alert(6)> "quoted" & more'
"""The label of the feature MARKED of every SAE."""

COUNT_PIXELS = """async (bytes) => {
    const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const { data } = canvas.getImageData(0, 0, image.width, image.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) {
        count += Math.abs(data[i] - data[0]) + Math.abs(data[i + 2] - data[2]) > 60;
    }
    return count;
}"""
PLACE = """([x, y]) => {
    const map = document.querySelector("#map"), box = document.querySelector(".map-target").getBoundingClientRect();
    const [x0, x1, y0, y1] = map.dataset.view.split(",").map(Number);
    return [box.x + (x - x0) / (x1 - x0) * box.width, box.y + (y1 - y) / (y1 - y0) * box.height];
}"""
ZOOM = """(view) => {
    const state = new URLSearchParams(location.search);
    state.set("view", view.join(","));
    history.replaceState(null, "", `?${state}`);
    dispatchEvent(new PopStateEvent("popstate"));
}"""
RANGES = """() => document.querySelector("#map").dataset.view.split(",").map(Number)"""
BOXES = """() => [...document.querySelectorAll(".map-names .place")].filter((one) => !one.hidden).map((one) => {
    const { left, right, top, bottom } = one.getBoundingClientRect();
    return [one.textContent, left, right, top, bottom];
})"""


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the run had too many points to send them."""
    monkeypatch.setattr(map_views, "MAX_POINTS", 40)


def explore(open_page: Open, query: str = "", **options: object) -> Page:
    page = open_page(f"/explore{query}", **options)
    page.wait_for_selector(READY)
    return page


def wait_until_drawn(page: Page) -> None:
    """Wait until the page has drawn what it is about to draw: what it tells of its rectangle lags behind until then."""
    page.evaluate("() => new Promise(requestAnimationFrame)")


def ranges(page: Page) -> list[float]:
    """The rectangle in view."""
    wait_until_drawn(page)
    return page.evaluate(RANGES)


def pixels(page: Page) -> int:
    """How many pixels of the map differ from its background."""
    return int(page.evaluate(COUNT_PIXELS, list(page.locator("#map").screenshot())))


@pytest.fixture(scope="module")
def places(published_store: StorePaths) -> dict[str, tuple[float, float]]:
    """Where every live feature lies, by model/sae/index, from the features themselves."""
    record, folder, _ = open_published(published_store)
    tables, found = PublishedRun(folder), {}
    for sae in record.saes:
        rows = range(sae.first_row, sae.first_row + sae.num_features)
        for index, feature in enumerate(tables.take("features", rows, ["x", "y", "live"]).to_pylist()):
            if feature["live"]:
                found[f"{sae.model}/{sae.name}/{index}"] = (feature["x"], feature["y"])
    return found


def pixels_of(page: Page, places: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Where each place is on the screen."""
    found = page.evaluate(f"(all) => all.map({PLACE})", [list(place) for place in places.values()])
    return {name: tuple(place) for name, place in zip(places, found, strict=True)}


def alone(page: Page, places: dict[str, tuple[float, float]]) -> tuple[str, float, float]:
    """A feature that no other is near on the screen, and its pixel."""
    pixel = pixels_of(page, places)
    inside = {name: p for name, p in pixel.items() if 320 < p[1] < 700}
    for name, (x, y) in inside.items():
        if all(other == name or (x - a) ** 2 + (y - b) ** 2 > 400 for other, (a, b) in pixel.items()):
            return name, x, y
    raise AssertionError("every point has another beside it")


def draw(page: Page, corners: list[tuple[float, float]]) -> None:
    """Drag the mouse from corner to corner."""
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=4)
    page.mouse.up()


def state(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def test_points_are_drawn_said_and_opened(open_page, places):
    page = explore(open_page)
    assert pixels(page) > 500
    expect(page.locator(".map-count")).to_have_text(f"{len(places)} features in view")
    name, x, y = alone(page, places)
    page.mouse.move(x, y)
    hover = page.locator(f".map-hover[data-feature='{name.removeprefix('tiny/')}']")
    expect(hover).to_contain_text("of tokens")
    feature = page.request.get(page.url.replace("/explore", f"/api/v1/features/{name}")).json()
    expect(hover.locator("strong")).to_have_text(feature["label"])
    examples = page.request.get(page.url.replace("/explore", f"/api/v1/features/{name}/examples?limit=1")).json()
    peak = next(token["text"] for token in examples[0]["tokens"] if token["centre"])
    assert hover.locator(".excerpt mark").first.text_content() == peak
    said = feature["raised"][:4] or feature["lowered"][:4] or feature["promoted"][:5]
    assert hover.locator(".piece").all_inner_texts() == [token["text"] for token in said]
    page.mouse.click(x, y)
    arrive(page, re.compile(f"/{name}$"))
    page.go_back()
    page.wait_for_selector(READY)
    assert pixels(page) > 500


def test_the_card_lies_beside_what_one_points_at(open_page, places):
    for width in (1280, 390):
        page = explore(open_page, width=width)
        name, x, y = alone(page, places)
        page.mouse.move(x, y)
        expect(page.locator(f".map-hover[data-feature='{name.removeprefix('tiny/')}']")).to_be_visible()
        box = page.locator(".map-hover").bounding_box()
        away = max(box["x"] - x, x - box["x"] - box["width"], box["y"] - y, y - box["y"] - box["height"])
        assert 15 < away < 60


def test_with_a_finger_the_first_tap_says_and_the_second_opens(open_page, places):
    page = explore(open_page, has_touch=True)
    name, x, y = alone(page, places)
    page.touchscreen.tap(x, y)
    expect(page.locator(f".map-hover[data-feature='{name.removeprefix('tiny/')}']")).to_be_visible()
    page.touchscreen.tap(x, y)
    expect(page).to_have_url(re.compile(f"/{name}$"))


def test_what_is_in_view_is_listed_by_keyboard(open_page):
    page = explore(open_page)
    page.get_by_role("button", name="List them").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-selected] .found a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/tiny/1-[a-z]+-\d+/\d+$"))


def test_hostile_labels_are_literal_where_one_points(open_page, places):
    name = f"tiny/1-relu-64/{MARKED}"
    x, y = places[name]
    page = explore(open_page, f"?view={x - 1e-3},{x + 1e-3},{y - 1e-3},{y + 1e-3}&hide=1-relu-256,1-batchtopk-64")
    page.mouse.move(*page.evaluate(PLACE, [x, y]))
    expect(page.locator(".map-hover[data-feature] strong")).to_have_text(HOSTILE)
    assert page.locator(".map-hover svg, #beside [onload]").count() == 0


def test_the_view_is_in_the_address_and_comes_back(open_page):
    page = explore(open_page)
    entries = page.evaluate("history.length")
    page.get_by_role("button", name="1-relu-64").click()
    page.get_by_label("Colour").select_option("score")
    page.get_by_label("Highlight features on the map").fill("oxford")
    page.wait_for_url(re.compile("q=oxford"))
    page.locator("#map").focus()
    page.keyboard.press("+")
    page.wait_for_url(re.compile("view=.*"))
    page.wait_for_selector("[data-hits]")
    assert page.evaluate("history.length") == entries
    before, hits = ranges(page), page.locator("[data-hits] h2").inner_text()
    again = open_page("/" + page.url.split("/", 3)[3])
    again.wait_for_selector(READY)
    assert ranges(again) == pytest.approx(before, abs=1e-3)
    expect(again.get_by_role("button", name="1-relu-64")).to_have_attribute("aria-pressed", "false")
    expect(again.get_by_label("Colour")).to_have_value("score")
    expect(again.get_by_label("Highlight features on the map")).to_have_value("oxford")
    expect(again.locator("[data-hits] h2")).to_have_text(hits)
    again.get_by_role("button", name="Reset view").click()
    again.wait_for_function(f"() => document.querySelector('#map').dataset.view.split(',')[0] < {before[0]}")


@pytest.mark.parametrize("dense", [False, True])
def test_what_is_drawn_keeps_its_colours_until_those_asked_for_come(open_page, dense, request):
    if dense:
        request.getfixturevalue("cells")
    page = explore(open_page)
    held = []
    page.route(re.compile("colour=score"), lambda route: held.append(route))
    with page.expect_request(re.compile("colour=score")):
        page.get_by_label("Colour").select_option("score")
    page.evaluate("document.dispatchEvent(new Event('themechange'))")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator(".map-legend")).to_be_hidden()
    held.pop().continue_()
    expect(page.locator(".map-legend")).to_be_visible()


@pytest.mark.parametrize("tool", ["Box", "Lasso"])
@pytest.mark.parametrize("far", [False, True])
def test_a_drawn_shape_selects_what_lies_in_it(open_page, places, tool, far, request):
    if far:
        request.getfixturevalue("cells")
    page = explore(open_page)
    assert page.locator("#map").get_attribute("data-kind") == ("cells" if far else "points")
    box = page.locator("#map").bounding_box()
    x0, x1, y0, y1 = box["x"] + 250, box["x"] + 420, box["y"] + 120, box["y"] + 260
    corners = [(x0, y0), (x1, y1)] if tool == "Box" else [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    pixel = pixels_of(page, places)
    inside = {name for name, (x, y) in pixel.items() if x0 + 2 < x < x1 - 2 and y0 + 2 < y < y1 - 2}
    around = {name for name, (x, y) in pixel.items() if x0 - 2 < x < x1 + 2 and y0 - 2 < y < y1 + 2}
    assert 3 < len(inside) <= map_selection.MAX_SELECTED
    entries = page.evaluate("history.length")
    page.get_by_role("button", name=tool).click()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_selection, "MAX_POINTS", 50_000)
        draw(page, corners)
        page.wait_for_selector("[data-selected]")
        total = int(page.locator("[data-selected]").get_attribute("data-selected"))
        assert len(inside) <= total <= len(around)
        links = page.locator("[data-selected] .found a").evaluate_all("(all) => all.map((a) => a.getAttribute('href'))")
        assert {link[1:] for link in links} <= around
        assert page.evaluate("history.length") == entries + 1
        page.reload()
        page.wait_for_selector(READY)
        assert int(page.locator("[data-selected]").get_attribute("data-selected")) == total
        assert page.locator(".map-shapes path").count() == 1
        page.go_back()
        expect(page.locator("[data-selected]")).to_have_count(0)
        assert "sel" not in state(page)
        page.go_forward()
        expect(page.locator("[data-selected]")).to_have_count(1)
        page.get_by_role("link", name="Clear selection").click()
        expect(page.locator("[data-selected]")).to_have_count(0)
        expect(page.locator(".map-shapes path")).to_have_count(0)


@pytest.mark.usefixtures("cells")
def test_far_out_counts_are_drawn_and_near_in_points(open_page, places):
    page = explore(open_page)
    expect(page.locator(".map-count")).to_contain_text("drawn as density")
    assert pixels(page) > 500
    name, x, y = alone(page, places)
    page.mouse.move(x - 1, y)
    page.mouse.move(x, y)
    expect(page.locator(".map-hover")).to_contain_text("here")
    x, y = places[name]
    page.evaluate(ZOOM, [x - 0.01, x + 0.01, y - 0.01, y + 0.01])
    page.wait_for_selector("#map[data-kind=points]")
    x, y = page.evaluate(PLACE, [x, y])
    page.mouse.move(x - 1, y)
    page.mouse.move(x, y)
    expect(page.locator(".map-hover")).to_contain_text(name.rpartition("/")[2])
    page.mouse.click(x, y)
    expect(page).to_have_url(re.compile(f"/{name}$"))


@pytest.mark.usefixtures("cells")
def test_a_click_far_out_comes_nearer(open_page, places):
    page = explore(open_page)
    before = ranges(page)
    _, x, y = alone(page, places)
    page.mouse.move(x, y)
    page.mouse.click(x, y)
    page.wait_for_url(re.compile("view="))
    after = ranges(page)
    assert after[1] - after[0] == pytest.approx((before[1] - before[0]) / 3, rel=0.01)


def test_keys_move_the_map(open_page):
    page = explore(open_page)
    page.locator("#map").focus()
    first = ranges(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("view="))
    right = ranges(page)
    assert right[0] > first[0]
    page.keyboard.press("+")
    page.wait_for_function(f"() => document.querySelector('#map').dataset.view.split(',')[0] > {right[0]}")
    near = ranges(page)
    assert near[1] - near[0] == pytest.approx((right[1] - right[0]) / 1.6, rel=0.01)


def test_a_late_answer_does_not_replace_a_newer_one(open_page):
    page = explore(open_page)
    page.evaluate("""() => {
        const plain = window.fetch, tone = document.querySelector(".map-colour select");
        window.asked = [];
        window.fetch = (address, options) => { window.asked.push(options?.signal); return plain(address, options); };
        for (const colour of ["density", "score", "sae", "density"]) {
            tone.value = colour;
            tone.dispatchEvent(new Event("change"));
        }
    }""")
    page.wait_for_function("() => document.querySelector('#map:not([data-asking])')")
    assert page.evaluate("window.asked.map((signal) => signal.aborted)") == [True, True, False]
    expect(page.locator(".map-legend")).to_be_visible()


@pytest.fixture
def names(published_store: StorePaths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Region]:
    """Sixty names on the map, of which many would overlap if all were shown."""
    map_ = PublishedMap(open_published(published_store).folder / "map")
    x0, y0, size = map_.world
    rng = np.random.default_rng(0)
    sides = np.sort(320 * 2 ** rng.integers(0, 4, 60))
    made = [
        Region(f"place {'x' * int(rng.integers(9))} {i}", x0 + rng.random() * size, y0 + rng.random() * size, side, 5)
        for i, side in enumerate(sides.tolist())
    ]
    write_regions(tmp_path, made)
    planted, within = PublishedRegions(tmp_path), PublishedRegions.within
    monkeypatch.setattr(PublishedRegions, "within", lambda _, *asked: within(planted, *asked))
    return made


@pytest.mark.parametrize("width", [1280, 390])
def test_no_two_names_overlap_however_near_one_comes(open_page, names, width):
    page = explore(open_page, width=width)
    page.wait_for_function("() => document.querySelector('.map-names .place:not([hidden])')")
    page.locator("#map").focus()
    counts = []
    for _ in range(5):
        boxes = page.evaluate(BOXES)
        counts.append(len(boxes))
        for i, (_, x0, x1, y0, y1) in enumerate(boxes):
            assert all(x1 <= a or b <= x0 or y1 <= c or d <= y0 for _, a, b, c, d in boxes[:i])
        before = ranges(page)
        page.keyboard.press("+")
        page.wait_for_function(f"() => document.querySelector('#map').dataset.view.split(',')[0] > {before[0]}")
        page.wait_for_selector("#map:not([data-moving])")
    assert max(counts) > 3


def test_the_names_in_view_are_a_list_of_links_for_those_who_do_not_see_the_map(open_page, names):
    page = explore(open_page)
    page.wait_for_function("() => document.querySelector('.map-names .place:not([hidden])')")
    expect(page.locator("[data-places] a").first).to_have_text(page.evaluate(BOXES)[0][0])
    before = ranges(page)
    first = page.locator("[data-places] a").first.text_content()
    page.locator("[data-places] a").first.click()
    expect(page).to_have_url(re.compile("view="))
    page.wait_for_selector(READY)
    after = ranges(page)
    assert after[1] - after[0] < before[1] - before[0]
    x, y = next((one.x, one.y) for one in names if one.name == first)
    assert after[0] < x < after[1]
    assert after[2] < y < after[3]


def test_the_first_load_is_small(open_page):
    page, sizes = open_page("/none"), []
    page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    page.goto(page.url.replace("/none", "/explore"))
    page.wait_for_selector(READY)
    assert 10_000 < sum(sizes) < 200_000


def test_the_wheel_zooms_about_the_pointer_and_a_drag_moves(open_page, places):
    page = explore(open_page)
    name, x, y = alone(page, places)
    page.mouse.move(x, y)
    before = ranges(page)
    page.mouse.wheel(0, -240)
    page.wait_for_function(f"() => document.querySelector('#map').dataset.view.split(',')[0] > {before[0]}")
    after = ranges(page)
    assert after[1] - after[0] == pytest.approx((before[1] - before[0]) / 2, rel=0.01)
    assert page.evaluate(PLACE, list(places[name])) == pytest.approx([x, y], abs=1.5)
    draw(page, [(x, y), (x + 60, y + 30)])
    page.wait_for_selector("#map:not([data-moving])")
    wait_until_drawn(page)
    assert page.evaluate(PLACE, list(places[name])) == pytest.approx([x + 60, y + 30], abs=2)


def test_without_scripts_the_search_works(open_page):
    page = open_page(f"/explore?f={FEATURE}", java_script_enabled=False)
    expect(page.locator("[data-how]")).to_be_hidden()
    page.get_by_label("Highlight features on the map").fill("oxford")
    page.keyboard.press("Enter")
    expect(page.locator("[data-hits] .found a").first).to_be_visible()
    assert state(page) == {"q": "oxford", "f": FEATURE}


@in_every_view
def test_the_explorer_is_accessible_and_fits(open_page, width, scheme):
    for query in (f"?f={FEATURE}&colour=density", "?q=oxford&sel=-1,-1,1,-1,1,1"):
        page = explore(open_page, query, width=width, color_scheme=scheme)
        check_view(page, width, scheme, impacts=SERIOUS)
