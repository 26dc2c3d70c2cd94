import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.views import SERIOUS, check_view, in_every_view

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
FEATURES = ["tiny/1-relu-256/3", "tiny/1-relu-256/9", "tiny/1-relu-64/7"]
NEW = "/lists/new?" + "&".join(f"f={name}" for name in FEATURES)


def make(open_page: Open, name: str, **options: object) -> Page:
    """A list of FEATURES, made by its form; the page that edits it."""
    page = open_page(NEW, **options)
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make the list").click()
    expect(page.get_by_role("heading", name="Edit the list")).to_be_visible()
    page.wait_for_load_state()
    return page


def expect_order(page: Page, features: list[str]) -> None:
    """The entries of the page that edits the list come to be these, in this order."""
    expect(page.locator(".entry[data-feature]")).to_have_count(len(features))
    for entry, feature in zip(page.locator(".entry").all(), features, strict=True):
        expect(entry).to_have_attribute("data-feature", feature)


def path_of(page: Page) -> str:
    return "/" + page.url.split("/", 3)[3]


def test_a_list_is_made_annotated_reordered_by_keyboard_and_shared(open_page: Open):
    page = make(open_page, "Rivers")
    expect(page.locator("[data-list-status]")).to_contain_text("The list is made")
    expect(page).not_to_have_url(re.compile("done="))
    note = page.get_by_label(f"Note on {FEATURES[0]}")
    note.fill("first\nof two lines")
    note.press("Tab")
    expect(page.locator("[data-list-status]")).to_contain_text("is saved")
    page.get_by_label("Note on the list").fill("of all that flow")
    page.keyboard.press("Tab")
    expect(page.locator("[data-list-status]")).to_contain_text("name and note are saved")
    down = page.get_by_role("button", name=f"Move {FEATURES[0]} down")
    down.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-list-status]")).to_contain_text("number 2")
    expect(down).to_be_focused()
    page.keyboard.press("Space")
    expect(page.locator("[data-list-status]")).to_contain_text("number 3")
    expect_order(page, [FEATURES[1], FEATURES[2], FEATURES[0]])
    expect(page.get_by_role("button", name=f"Move {FEATURES[0]} up")).to_be_focused()  # the other one has ended
    page.reload()
    expect_order(page, [FEATURES[1], FEATURES[2], FEATURES[0]])

    link = page.locator(".list-head .small a").inner_text()
    reader = open_page(link)
    expect(reader.get_by_role("heading", level=1)).to_have_text("Rivers")
    assert reader.locator(".entry .label").count() == 3
    expect(reader.locator(".list-note")).to_have_text(["of all that flow", re.compile("first.*of two lines")])
    expect(reader.locator("[data-edit-link]")).to_be_hidden()
    assert reader.locator("textarea").count() == 0
    page.goto(reader.url)
    page.locator("[data-edit-link]").click()
    expect_order(page, [FEATURES[1], FEATURES[2], FEATURES[0]])


def test_the_secret_is_sent_to_nobody(open_page: Open):
    page = make(open_page, "Secret")
    secret = page.url.split("key=")[1]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.headers.get("referer", "")))
    page.locator(".entry .label").first.click()
    expect(page.locator(".feature-head")).to_be_visible()
    assert page.evaluate("document.referrer").count("/") == 3  # the name of the server only
    assert asked
    assert not any(secret in referrer for referrer in asked)


def test_removing_keeps_the_focus_and_dragging_reorders(open_page: Open):
    page = make(open_page, "Drag", height=2000)
    handle = page.locator(".entry-handle").first
    handle.hover()
    page.mouse.down()
    target = page.locator(".entry").last.bounding_box()
    assert target
    page.mouse.move(target["x"] + 20, target["y"] + target["height"] - 5, steps=5)
    page.mouse.up()
    expect(page.locator("[data-list-status]")).to_contain_text("number 3")
    expect_order(page, [FEATURES[1], FEATURES[2], FEATURES[0]])
    page.get_by_role("button", name=f"Remove {FEATURES[1]}").press("Enter")
    expect(page.locator("[data-list-status]")).to_contain_text("is removed")
    expect(page.get_by_role("button", name=f"Remove {FEATURES[2]}")).to_be_focused()
    page.reload()
    expect_order(page, [FEATURES[2], FEATURES[0]])


@pytest.mark.parametrize("ending", ["CSV", "JSON", "Parquet"])
def test_a_list_is_exported_and_imported(open_page: Open, tmp_path: Path, ending: str):
    page = make(open_page, f"Taken along {ending}")
    page.get_by_role("link", name="Read it").click()
    with page.expect_download() as caught:
        page.get_by_role("link", name=ending, exact=True).click()
    file = tmp_path / caught.value.suggested_filename
    caught.value.save_as(file)
    assert file.stem == f"Taken along {ending}"
    other = open_page("/lists")
    other.get_by_label("A file that was exported here").set_input_files(file)
    other.get_by_role("button", name="Import").click()
    expect_order(other, FEATURES)
    expect(other.get_by_label("Name")).to_have_value(f"Taken along {ending}")


def test_lists_are_edited_without_scripts(open_page: Open):
    page = make(open_page, "Plain", java_script_enabled=False)
    expect(page.locator("[data-list-status]")).to_contain_text("The list is made")
    page.get_by_role("button", name=f"Move {FEATURES[0]} down").click()
    expect_order(page, [FEATURES[1], FEATURES[0], FEATURES[2]])
    page.get_by_label(f"Note on {FEATURES[2]}").fill("noted")
    page.locator(".entry").nth(2).get_by_role("button", name="Save note").click()
    expect(page.locator("[data-list-status]")).to_contain_text("note is saved")
    expect(page.get_by_label(f"Note on {FEATURES[2]}")).to_have_value("noted")
    page.get_by_label("One a line").fill("tiny/1-relu-64/11")
    page.get_by_role("button", name="Add", exact=True).click()
    expect_order(page, [FEATURES[1], FEATURES[0], FEATURES[2], "tiny/1-relu-64/11"])
    page.get_by_label("Delete it for good").check()
    page.get_by_role("button", name="Delete the list").click()
    expect(page.get_by_role("heading", name="Lists of features")).to_be_visible()


def test_a_browser_knows_the_lists_that_it_made(open_page: Open):
    page = make(open_page, "Known")
    page.goto(page.url.split("/lists/")[0] + "/lists")
    expect(page.locator("[data-my-lists]")).to_be_visible()
    page.get_by_role("link", name="Edit Known").click()
    expect_order(page, FEATURES)
    page.wait_for_load_state()  # the script forgets what is deleted
    page.get_by_label("Delete it for good").check()
    page.get_by_role("button", name="Delete the list").click()
    expect(page.locator("[data-my-lists]")).to_be_hidden()


def test_the_picker_adds_a_feature_to_a_known_list(open_page: Open):
    page = make(open_page, "Picked")
    known = page.evaluate("localStorage.getItem('lists')")
    page.goto(page.url.split("/lists/")[0] + "/tiny/1-relu-64/12")
    link = page.locator("a[data-list-add]")
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Picked").click()
    expect(dialog.get_by_role("status")).to_contain_text("Added")
    page.keyboard.press("Escape")
    expect(link).to_be_focused()
    page.goto(page.url.split("/tiny/")[0] + f"/lists/{json.loads(known)[0]['id']}")
    expect(page.locator(".entry .label")).to_have_count(4)


@pytest.mark.parametrize("path", ["/tiny/1-relu-64/12", "/compare?f=tiny/1-relu-64/12"])
def test_the_first_list_is_made_in_the_dialog(open_page: Open, path: str):
    page = open_page(path, width=390)
    page.locator("a[data-list-add]").click()
    dialog = page.get_by_role("dialog")
    name = dialog.get_by_label("Name of a new list")
    expect(name).to_be_focused()
    name.fill("  ")
    page.route("**/api/v1/lists", lambda route: route.fulfill(status=503, json={"detail": "No room on purpose."}))
    name.fill("First")
    name.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("No room on purpose.")
    expect(name).to_have_value("First")
    page.unroute("**/api/v1/lists")
    name.press("Enter")
    expect(dialog.get_by_role("status")).to_contain_text("Added")
    expect(dialog.get_by_role("button", name="First")).to_be_visible()
    assert page.url.endswith(path)
    dialog.get_by_role("link", name="Open the list").click()
    expect(page.locator(".entry .label")).to_have_count(1)
    expect(page.locator("input[name=name]")).to_have_value("First")


def test_without_a_script_the_link_leads_to_a_new_list(open_page: Open):
    page = open_page("/compare?f=tiny/1-relu-64/12", java_script_enabled=False)
    page.locator("a[data-list-add]").click()
    expect(page.get_by_label("Features, one a line")).to_have_value("tiny/1-relu-64/12")


@in_every_view
def test_pages_of_lists_are_accessible_and_fit(open_page: Open, width: int, scheme: str):
    edit = make(open_page, "Long name " * 15, width=width, color_scheme=scheme)
    paths = ["/lists", NEW, path_of(edit), path_of(edit).split("/edit")[0], "/compare"]
    paths.append(f"/compare?f={FEATURES[0]}&t=0.2")
    for path in paths:
        page = open_page(path, width=width, color_scheme=scheme)
        check_view(page, width, scheme, impacts=SERIOUS)


def test_the_threshold_moves_without_a_new_entry(open_page: Open):
    page = open_page(f"/compare?f={FEATURES[0]}")
    before = page.evaluate("history.length")
    slider = page.get_by_label("A relative has a cosine")
    few = page.locator(".member").count()
    slider.fill("0.2")
    expect(page).to_have_url(re.compile(r"t=0\.2"))
    many = page.locator(".member").count()
    assert many > few
    expect(page.locator(".threshold output")).to_have_text("0.20")
    assert page.evaluate("history.length") == before
    again = open_page(path_of(page))
    assert again.locator(".member").count() == many
    assert again.locator(".dot").evaluate_all("dots => dots.map((d) => [d.cx.baseVal.value, d.cy.baseVal.value])") == (
        page.locator(".dot").evaluate_all("dots => dots.map((d) => [d.cx.baseVal.value, d.cy.baseVal.value])")
    )
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page).to_have_url(re.compile(r"t=0\.21"))


def test_counts_lead_to_lists_and_families_and_back(open_page: Open):
    page = open_page("/compare?t=0.6")
    cell = page.locator(".smaller .size-cell").first
    count = cell.locator(".size-count").inner_text()
    cell.click()
    expect(page.locator("#new-title")).to_contain_text(f"{count} feature")
    listed = page.url
    page.locator(".new-features tbody tr").first.get_by_text("family").click()
    expect(page.locator(".member.focus")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(listed)
    expect(page.locator("#new-title")).to_contain_text(f"{count} feature")


def test_the_threshold_is_set_without_scripts(open_page: Open):
    page = open_page(f"/compare?f={FEATURES[0]}", java_script_enabled=False)
    page.get_by_label("A relative has a cosine").fill("0.3")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(r"t=0\.3"))
    expect(page.locator(".threshold output")).to_have_text("0.30")
