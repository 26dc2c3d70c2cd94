"""The home page and the page of an SAE, as people use them."""

import io
import re

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect

from tests.support.fake_run import NEGLIGIBLE
from tests.support.navigation import arrive

pytestmark = pytest.mark.browser
SAE = "/tiny/1-relu-256"


def test_home_leads_on_by_search_and_at_random(open_page):
    page = open_page("/")
    page.get_by_role("searchbox", name="Words to search for").fill("oxford")
    page.get_by_role("button", name="Search", exact=True).click()
    arrive(page, re.compile(r"/search\?q=oxford"))
    page.go_back()
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile(r"/tiny/1-[a-z]+-\d+/\d+$"))


def test_the_worked_example_tells_values_and_leads_to_its_feature(open_page):
    page = open_page("/")
    page.locator(".worked .tokens .centre").first.hover()
    assert float(page.locator(".tip").inner_text()) > 0
    name = page.locator(".worked .section-head a").inner_text()
    page.get_by_role("link", name="Everything about it").click()
    expect(page).to_have_url(re.compile(re.escape(name)))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_comparison_reads_without_scripts(open_page, width):
    page = open_page("/", width=width, java_script_enabled=False)
    rows = page.locator(".saes tbody tr")
    expect(rows).to_have_count(3)
    for cell in rows.nth(1).locator("td").all():
        expect(cell).to_be_visible()
    expect(page.locator(".chart .dot")).to_have_count(3)
    rows.nth(1).get_by_role("link").click()
    expect(page.locator("table.features tbody tr").first).to_be_visible()


def test_pages_of_a_list_turn_and_come_back(open_page):
    page = open_page(f"{SAE}?sort=index&per_page=100&minor=1")
    first = page.locator("table.features tbody a.label").first
    expect(first).to_have_attribute("href", f"{SAE}/0")
    page.get_by_role("link", name="Next").click()
    expect(page).to_have_url(re.compile("#features$"))
    expect(first).to_have_attribute("href", f"{SAE}/100")
    page.get_by_role("link", name="Previous").click()
    expect(first).to_have_attribute("href", f"{SAE}/0")
    page.wait_for_load_state()
    page.go_back()
    expect(first).to_have_attribute("href", f"{SAE}/100")


@pytest.mark.parametrize("scripts", [True, False])
def test_one_select_shows_negligible_features_and_stays_in_the_address(open_page, scripts):
    page = open_page(f"{SAE}?per_page=200&sort=max&order=asc&alive=true", java_script_enabled=scripts)
    hidden = page.locator(f"a.label[href='{SAE}/{NEGLIGIBLE}']")
    kind = page.get_by_role("combobox", name="Features", exact=True)
    expect(page.locator("table.features tbody tr").first).to_be_visible()
    expect(kind).to_have_value("live")
    expect(hidden).to_have_count(0)
    kind.select_option("negligible")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile("kind=negligible"))
    expect(page.locator("table.features tbody tr")).to_have_count(1)
    expect(hidden).to_be_visible()
    kind.select_option("all")
    page.get_by_role("button", name="Apply").click()
    arrive(page, re.compile("kind=all"))
    expect(hidden).to_be_visible()
    page.get_by_role("link", name="Most frequent").click()
    arrive(page, re.compile("sort=density"))
    expect(kind).to_have_value("all")
    page.go_back()
    kind.select_option("live")
    page.get_by_role("button", name="Apply").click()
    arrive(page, re.compile("kind=live"))
    expect(hidden).to_have_count(0)


@pytest.mark.parametrize(
    ("asked", "kind"), [("minor=1", "all"), ("minor=True&alive=True", "active"), ("alive=false", "dead"), ("", "live")]
)
def test_an_address_from_before_chooses_its_kind(open_page, asked, kind):
    page = open_page(f"{SAE}?{asked}")
    expect(page.locator("select[name=kind]")).to_have_value(kind)
    expect(page.get_by_role("checkbox")).to_have_count(0)


def test_the_best_labels_first_and_only_what_has_one(open_page):
    page = open_page(SAE)
    page.get_by_role("link", name="Best label").click()
    arrive(page, re.compile("sort=label_score"))
    cells = page.locator("td.c-label_precision").all_inner_texts()
    shares = [int(text.rstrip("%")) for text in cells]
    assert shares == sorted(shares, reverse=True)
    page.locator("select[name=labelled]").select_option("without")
    page.get_by_role("button", name="Apply").click()
    arrive(page, re.compile("labelled=false"))
    expect(page.locator("tr:not(.dead) a.label")).to_have_count(0)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_bar_of_the_density_histogram_lists_its_features(open_page, scripts):
    page = open_page(SAE, java_script_enabled=scripts)
    bars = page.locator(".bars a .plain")
    boxes = [bar.bounding_box() for bar in bars.all()]
    bars.nth(boxes.index(max(boxes, key=lambda box: box["height"]))).click()
    arrive(page, re.compile(r"min_density=.*max_density="))
    low = float(page.locator("input[name=min_density]").input_value())
    high = float(page.locator("input[name=max_density]").input_value())
    shares = [float(text.strip().rstrip("%")) / 100 for text in page.locator("td.c-density").all_inner_texts()]
    assert shares
    assert all(low * 0.9 <= share <= high * 1.1 for share in shares)


def test_features_are_saved_as_a_file_that_can_be_read(open_page):
    page = open_page(SAE)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Features", exact=True).click()
    assert waiting.value.suggested_filename == "tiny_1-relu-256_features.parquet"
    assert pq.read_table(io.BytesIO(waiting.value.path().read_bytes())).num_rows == 256


def test_without_scripts_the_curves_leave_one_line_and_no_holes(open_page):
    page = open_page(SAE, java_script_enabled=False)
    expect(page.locator("noscript p:visible")).to_have_count(1)
    expect(page.locator(".curves")).to_be_hidden()


def test_the_matrix_of_sizes_fits_a_narrow_screen(open_page):
    page = open_page("/compare", width=390)
    for cell in page.locator(".sizes .size-cell").all():
        box = cell.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= 390
    assert page.locator(".sizes td[data-title='in any smaller']").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("width", [1280, 390])
def test_home_answers_one_question_twice_and_the_slider_changes_it(open_page, width):
    page = open_page("/", width=width, height=844)
    plain, steered = page.locator(".answer.plain"), page.locator(".answer.steered .bubble:visible")
    expect(plain).to_be_in_viewport()
    expect(page.locator(".answer.steered [data-strength='2']")).to_be_visible()
    page.get_by_role("slider").press("ArrowLeft")
    expect(page.locator(".answer.steered [data-strength='1.5']")).to_be_visible()
    expect(page.locator(".answer.steered [data-strength='2']")).to_be_hidden()
    expect(steered).to_have_count(1)
    assert page.url.endswith("strength=1.5")
    page.locator(".stops a").first.click()
    expect(page.locator("#strength")).to_have_text("0.5×")
    page.reload()
    expect(page.locator("#strength")).to_have_text("0.5×")


@pytest.mark.parametrize("scripts", [True, False])
def test_the_first_click_on_home_leads_to_a_steered_text(open_page, scripts):
    page = open_page("/", java_script_enabled=scripts)
    page.locator(".stops a", has_text="1.5×").click()
    expect(page.locator(".answer.steered [data-strength='1.5']")).to_be_visible()
    page.get_by_role("link", name="Go on chatting").click()
    expect(page.locator(".bubble.said")).to_have_text("Who are you?")
    expect(page.locator('[data-row="1"]')).to_contain_text("wide and old")


def test_the_links_in_the_footer_fit_a_narrow_screen(open_page):
    page = open_page("/prompt", width=390, java_script_enabled=False)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for name in ("Completeness", "Neurons", "Scaling"):
        box = page.get_by_role("navigation", name="More pages").get_by_role("link", name=name).bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= 390
    page.get_by_role("link", name="Neurons", exact=True).press("Enter")
    expect(page).to_have_url(re.compile("/neurons$"))


def test_where_the_text_breaks_the_slider_says_so(open_page):
    page = open_page("/")
    page.locator(".stops a").nth(1).evaluate("e => e.append(' breaks here')")
    page.locator(".stops a").nth(1).click()
    expect(page.locator("#strength")).to_have_text("1×")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "1× breaks here")


def test_what_the_server_holds_is_folded(open_page):
    page = open_page("/steer", java_script_enabled=False)
    expect(page.locator(".engine-status p")).to_be_hidden()
    page.locator(".engine-status summary").press("Enter")
    expect(page.locator(".engine-status p")).to_contain_text("GB")
