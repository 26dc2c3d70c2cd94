"""Features and strengths are chosen, with and without scripts."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.steering.form import (
    ASKED,
    OpenPage,
    open_settings,
    steer,
)
from tests.support.steering import FEATURE

pytestmark = pytest.mark.browser


def test_the_slider_reaches_any_strength_that_is_typed(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}:-3&prompt=the+river")
    slider, text = page.locator('input[type="range"]'), page.locator('input[name="s"]')
    expect(slider).to_have_value("-3")
    for typed, shown in (("10", "10"), ("2", "2"), ("99", "10"), ("off", "0")):
        text.fill(typed)
        expect(slider).to_have_value(shown)
    slider.fill("4")
    expect(text).to_have_value("4")


def test_a_feature_is_added_by_its_label(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens in")
    page.get_by_label("Add a feature").fill("river")
    options = page.locator("#add [role=option]:not(.all)").filter(has_not_text="1-relu-64 / 3")
    options.first.click()
    expect(page.locator(".held-one")).to_have_count(2)
    expect(page.locator("#progress")).to_have_text(re.compile(r"\d+ tokens in"))
    expect(page.locator('[data-row="0"] .new')).to_have_count(12)
    assert page.url.count("f=") == 2


def test_without_scripts_words_find_features_to_add(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}", java_script_enabled=False)
    page.get_by_label("Add a feature").fill("river")
    page.get_by_role("button", name="Add", exact=True).last.click()
    expect(page.get_by_text("Features with “river”")).to_be_visible()
    page.locator(".add .chip").first.click()
    expect(page.locator(".held-one")).to_have_count(2)


def test_what_was_typed_stays_when_features_come_and_go(open_page: OpenPage) -> None:
    page = open_page(f"{ASKED}&f=tiny/1-relu-64/9:3")
    page.get_by_label("Text to continue", exact=True).fill("the war")
    page.locator('input[name="s"]').nth(1).fill("-1.5")
    page.locator(".add .chip").first.click()
    expect(page.locator(".held-one")).to_have_count(3)
    page.locator(".held-remove").first.click()
    expect(page.locator(".held-one")).to_have_count(2)
    expect(page.get_by_label("Text to continue", exact=True)).to_have_value("the war")
    expect(page.locator('input[name="s"]').first).to_have_value("-1.5")


def test_strengths_that_say_nothing_are_hidden_with_a_reason(open_page: OpenPage) -> None:
    page = open_page(f"{ASKED}&f=tiny/1-relu-64/9:off")
    strengths = page.locator('input[name="s"]')
    open_settings(page)
    mode, sweep = page.get_by_label("Mode"), page.get_by_label("Compare strengths", exact=True)

    def expect_hidden(why: str) -> None:
        expect(strengths.first).to_be_hidden()
        expect(page.get_by_text(why).first).to_be_visible()
        expect(strengths.nth(1)).to_be_visible()

    mode.select_option("ablate")
    expect_hidden("taken out")
    mode.select_option("clamp")
    expect(strengths.first).to_be_visible()
    sweep.check()
    expect_hidden("at each of the strengths")


def test_the_form_works_without_javascript(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}", java_script_enabled=False)
    page.get_by_label("As a chat").uncheck()
    page.get_by_label("Add a feature").fill("tiny/1-relu-256/7")
    page.get_by_role("button", name="Add", exact=True).last.click()
    expect(page.locator(".held-one")).to_have_count(2)
    open_settings(page)
    page.get_by_label("New tokens").fill("8")
    page.get_by_label("Mode").select_option("add")
    steer(page)
    expect(page.locator('[data-row="1"] .new')).to_have_count(8)
    assert "/r/" in page.url
    page.get_by_role("link", name="Steer again").click()
    open_settings(page)
    expect(page.get_by_label("Mode")).to_have_value("add")
    page.locator(".held-remove").first.click()
    expect(page.locator(".held-one")).to_have_count(1)
