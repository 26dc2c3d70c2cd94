"""Scaling laws in a real browser, on a made report: the figures lead to cells, and the page reads without them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from backend.app import create_app
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.scaling import SIZES, TOKENS, made_report, put_report
from tests.support.serving import serving
from tests.support.steering import copied_database
from tests.support.views import check_view, in_every_view

pytestmark = pytest.mark.browser
Open = Callable[..., Page]
POINT = """(name) => {
  const plot = document.querySelector(".plot[data-drawn] .plot-target"), box = plot.getBoundingClientRect();
  const trace = plot.data.find((one) => one.name === name), { xaxis, yaxis } = plot._fullLayout;
  const x = box.left + xaxis._offset + xaxis.d2p(trace.x[2]), y = box.top + yaxis._offset + yaxis.d2p(trace.y[2]);
  return [x, y, trace.customdata[2]];
}"""
"""The place on the screen of the third point of a trace of the first figure, and where it leads."""


@pytest.fixture(scope="module")
def address(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose run has a made report."""
    url = copied_database(published_store, tmp_path_factory.mktemp("scaling"))
    put_report(published_store, Path(url.removeprefix("sqlite:///")), made_report())
    with serving(create_app(Settings(store=published_store.root, database_url=url, live=False))) as address:
        yield address


def test_a_point_of_the_figure_leads_to_the_row_of_its_cell(open_page: Open) -> None:
    page = open_page("/scaling")
    figure = page.locator(".plot").first
    expect(figure).to_have_attribute("data-drawn", "")
    x, y, href = page.evaluate(POINT, f"{SIZES[1]:,}")
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    expect(figure.locator(".hoverlayer")).to_contain_text(f"{SIZES[1]:,} features, 262k tokens")
    page.mouse.click(x, y)
    expect(page).to_have_url(re.compile(re.escape(href) + "$"))
    row = page.locator(f"tr{href}")
    expect(row).to_be_in_viewport()
    expect(row.locator("td").first).to_contain_text(f"{SIZES[1]:,}")


def test_lines_are_hidden_by_their_name(open_page: Open) -> None:
    page = open_page("/scaling")
    lines = page.locator(".plot").first.locator(".scatterlayer .trace .points")
    expect(page.locator(".plot").first).to_have_attribute("data-drawn", "")
    shown = lines.count()
    page.locator(".plot").first.locator(".legendtoggle").nth(2).click()
    expect(lines).to_have_count(shown - 1)


def test_figures_run_along_features_and_objectives_are_chosen_by_links(open_page: Open) -> None:
    page = open_page("/scaling")
    page.get_by_role("link", name="Along features").click()
    expect(page).to_have_url(re.compile("along=features#metrics$"))
    expect(page.locator("#metrics .legendtext")).to_have_count(len(TOKENS))
    page.get_by_role("navigation", name="Objectives").get_by_role("link", name="TopK, k 32").click()
    expect(page.locator("#cells h2")).to_have_text("All 4 cells")
    expect(page.locator("main")).to_contain_text("No law is fitted: 4 cells are too few")


def test_a_budget_is_answered_or_refused(open_page: Open) -> None:
    page = open_page("/scaling", java_script_enabled=False)
    budget = page.get_by_label("GPU hours, FLOPs or tokens")
    for typed in ("1e15 FLOPs", "200gpu-hours", "5e6 tokens"):
        budget.fill(typed)
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#advice dl")).to_contain_text("Features")
        expect(page.locator("#advice")).to_contain_text("an extrapolation")
        expect(budget).to_have_value(typed)
    budget.fill("a lot")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("'a lot' is no budget: give a number and its unit")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_reads_without_scripts_at_any_width(open_page: Open, width: int) -> None:
    page = open_page("/scaling", width=width, java_script_enabled=False)
    expect(page.locator("h1")).to_contain_text("Ten times the compute")
    expect(page.locator(".plot").first).to_be_hidden()
    expect(page.locator("noscript p:visible").first).to_contain_text("The figures need JavaScript")
    expect(page.locator(".cells tbody tr")).to_have_count(len(made_report().grids[0].cells))
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@in_every_view
def test_the_page_is_accessible_and_fits(open_page: Open, width: int, scheme: str) -> None:
    page = open_page("/scaling", width=width, color_scheme=scheme)
    expect(page.locator(".plot").first).to_have_attribute("data-drawn", "")
    check_view(page, width, scheme)
