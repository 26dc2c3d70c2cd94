"""The steering page and its results in a real browser, on a tiny random Llama, through a connection that can be cut."""

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from backend.settings import Settings
from data.layout import StorePaths
from tests.support.proxy import Proxy, proxied
from tests.support.steering import FEATURE, SECONDS, Server, brake, copied_database, steering_server, waiting
from tests.support.views import check_view, in_every_view

pytestmark = [pytest.mark.browser, pytest.mark.long]

OpenPage = Callable[..., Page]
ASKED = f"/steer?f={FEATURE}:4&prompt=the+river&temperature=0&new_tokens=12"
PATIENCE = 1000 * SECONDS


@pytest.fixture(scope="module")
def server(published_store: StorePaths, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    url = copied_database(published_store, tmp_path_factory.mktemp("browser"))
    settings = Settings(store=published_store.root, database_url=url, max_prompt_tokens=100)
    with steering_server(settings) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[Proxy]:
    with proxied(server.address) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def address(proxy: Proxy) -> str:
    """What `open_page` opens."""
    return proxy.address


@pytest.fixture(autouse=True)
def _forget(server: Server, proxy: Proxy) -> None:
    server.forget()
    proxy.refusing = False


def steer(page: Page) -> None:
    page.locator("#go").click()


def open_settings(page: Page) -> None:
    page.locator(".options summary").click()


def written(page: Page, row: int) -> str:
    return page.locator(f'[data-row="{row}"] .new').all_inner_texts().__str__()


def expect_a_message(page: Page, words: str | re.Pattern[str], again: bool = False) -> None:
    """A message in place, with a button where asking again may help; nothing turns for ever, no column is blank."""
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(words, timeout=PATIENCE)
    expect(alert.get_by_role("button", name="Try again")).to_have_count(int(again))
    expect(page.locator("#go")).to_be_enabled()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator("#progress")).to_be_empty()
    for column in page.locator("#texts .text").all():
        expect(column.locator(".ending")).not_to_be_empty()


def expect_it_goes_on(page: Page, button: str = "Try again") -> None:
    """The way on leads to the end."""
    page.get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_baseline_and_steered_stream_side_by_side_and_are_kept(open_page: OpenPage) -> None:
    page = open_page(ASKED.replace(":4", ":2"))
    page.locator('input[name="s"]').fill("4")
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)
    for row in range(2):
        assert "".join(page.locator(f'[data-row="{row}"] .given').all_inner_texts()) == "the river"
        assert page.locator(f'[data-row="{row}"] .new').count() == 12
    assert written(page, 0) != written(page, 1)
    assert "%3A4" in page.url
    texts = [written(page, row) for row in range(2)]
    page.locator('[data-row="1"] .new:not(:empty)').first.hover()
    expect(page.locator(".tip")).to_contain_text("p 0.")
    open_settings(page)
    page.get_by_label("Probability").check()
    assert "colour=probability" in page.url
    page.get_by_role("link", name="Link to this result").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("the river")
    assert [written(page, row) for row in range(2)] == texts
    page.get_by_role("link", name="Steer again").click()
    assert [written(page, row) for row in range(2)] == texts, "what is stored is shown at once"
    steer(page)
    expect(page.locator("#progress")).to_contain_text("Written before", timeout=PATIENCE)
    assert [written(page, row) for row in range(2)] == texts


def test_tokens_are_walked_by_keys(open_page: OpenPage) -> None:
    page = open_page(ASKED, reduced_motion="reduce")
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens", timeout=PATIENCE)
    for _ in range(2):
        page.locator('[data-row="0"] .given').first.focus()
        page.keyboard.press("ArrowRight")
        expect(page.locator('[data-row="0"] .given').nth(1)).to_be_focused()
        expect(page.locator(".tip")).to_be_visible()
        page.mouse.move(300, 300)
        page.evaluate("scrollBy(0, 40); new Promise(requestAnimationFrame)")
        page.evaluate("scrollBy(0, -80); new Promise(requestAnimationFrame)")
        expect(page.locator(".tip")).to_be_visible()
        if "/r/" not in page.url:
            page.get_by_role("link", name="Link to this result").click()


def test_two_people_steer_at_once(open_page: OpenPage) -> None:
    pages = [open_page(f"/steer?f=tiny/1-relu-64/{f}:3&prompt=the+river&new_tokens=40&temperature=0") for f in (3, 9)]
    for page in pages:
        steer(page)
    for page in pages:
        expect(page.locator("#progress")).to_contain_text("80 tokens in", timeout=PATIENCE)
    assert written(pages[0], 0) == written(pages[1], 0)
    assert written(pages[0], 1) != written(pages[1], 1)


def test_strengths_are_compared_in_a_grid(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    strengths = page.get_by_label("Strengths to compare")
    expect(strengths).to_be_hidden()
    page.get_by_label("Compare strengths", exact=True).check()
    expect(strengths).to_have_value("0.5, 1, 1.5, 2, 3")
    strengths.fill("-2, 0.5 10")
    steer(page)
    expect(page.locator("#progress")).to_contain_text("48 tokens in", timeout=PATIENCE)
    assert page.locator("#texts h2").all_inner_texts() == ["Plain", "−2×", "0.5×", "10×"]
    assert [page.locator(f'[data-row="{row}"] .new').count() for row in range(4)] == [12] * 4
    assert "strengths=-2%2C+0.5+10" in page.url
    strengths.fill("1, much")
    steer(page)
    expect_a_message(page, "The strengths to compare are numbers")


def test_a_body_that_is_too_large_says_so(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    page.evaluate("document.querySelector('textarea').removeAttribute('maxlength')")
    page.evaluate("document.querySelector('textarea').value = 'a'.repeat(17 * 2 ** 20)")
    page.evaluate("history.replaceState = () => {}")  # such a text is no address
    steer(page)
    expect_a_message(page, "MiB at most")
    page.evaluate("document.querySelector('textarea').value = 'the river'")
    expect_it_goes_on(page, "Write")


def test_what_does_not_fit_is_said_in_place(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    page.get_by_label("Text to continue", exact=True).fill("a" * 300)
    steer(page)
    expect_a_message(page, "at most 100 fit here: shorten it")
    page.get_by_label("Text to continue", exact=True).fill("the river")
    expect_it_goes_on(page, "Write")


@pytest.mark.parametrize("strength", ["1e999", "11", "much"])
def test_a_strength_that_is_none_is_refused_and_old_texts_go(open_page: OpenPage, strength: str) -> None:
    page = open_page(ASKED)
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)
    page.locator('input[name="s"]').fill(strength)
    steer(page)
    expect_a_message(page, "A strength is a number from -10 to 10, or off")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    expect(page.locator("#texts")).to_be_hidden()


def test_a_model_that_is_not_in_memory_is_said_to_be_loaded(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    page.evaluate("document.getElementById('progress').dataset.loading = 'The model is being loaded.'")
    page.route("**/api/v1/steer", lambda route: None)
    steer(page)
    expect(page.locator("#progress")).to_have_text("The model is being loaded.")
    expect(page.locator("#progress")).to_be_in_viewport()


@pytest.mark.parametrize("width", [390, 1280])
def test_strength_texts_and_the_way_on_share_the_screen(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    page = open_page(f"{ASKED}&f=tiny/1-relu-64/9:3", width=width, reduced_motion="reduce")
    with brake(monkeypatch, at=1) as held:
        steer(page)
        expect(page.locator("#texts .turn").last).to_be_in_viewport(timeout=PATIENCE)
        for shown in (page.locator('input[name="s"]').first, page.locator("#stop"), page.locator("#go")):
            expect(shown).to_be_in_viewport()
        held.let_go.set()
        expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)


def test_another_strength_shows_its_stored_text_without_asking(open_page: OpenPage) -> None:
    page = open_page("/steer")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/static/" not in request.url else None)
    steered = page.locator('[data-row="1"]')
    expect(steered).to_contain_text("I am the river and the sea.")
    expect(page.locator(".bubble.said")).to_have_text("Who are you?")
    slider = page.locator('.held-one input[type="range"]')
    slider.fill("1.5")
    expect(steered).to_contain_text("wide and old")
    expect(steered).to_contain_text("Steered, 1.5×")
    assert "7%3A1.5" in page.url
    page.locator("#stored a", has_text="0.5×").click()
    expect(steered.locator(".tokens, .bubble").first).to_have_text("I am an assistant.")
    expect(slider).to_have_value("0.5")
    assert asked == []
    page.reload()
    expect(steered).to_contain_text("Steered, 0.5×")
    expect(steered.locator(".tokens, .bubble").first).to_have_text("I am an assistant.")


def test_the_slider_reaches_any_strength_that_is_typed(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}:-3&prompt=the+river")
    slider, text = page.locator('input[type="range"]'), page.locator('input[name="s"]')
    expect(slider).to_have_value("-3")
    for typed, shown in (("10", "10"), ("2", "2"), ("99", "10"), ("off", "0")):
        text.fill(typed)
        expect(slider).to_have_value(shown)
    slider.fill("4")
    expect(text).to_have_value("4")


def test_nothing_is_left_blank_below_the_strengths(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    line = page.locator("#run-line")
    assert line.bounding_box()["height"] < 2
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)
    assert line.bounding_box()["height"] > 20


def test_a_chip_leads_to_another_demonstration(open_page: OpenPage) -> None:
    page = open_page("/steer")
    page.locator("#openings a.card").last.click()
    expect(page.locator(".bubble.said")).to_have_text("Give me some advice.")
    expect(page.locator('[data-row="1"] .new').first).to_be_visible()
    expect(page.locator("#progress")).to_be_empty()


def test_a_feature_is_added_by_its_label(open_page: OpenPage) -> None:
    page = open_page(ASKED)
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)
    page.get_by_label("Add a feature").fill("river")
    options = page.locator("#add [role=option]:not(.all)").filter(has_not_text="1-relu-64 / 3")
    options.first.click()
    expect(page.locator(".held-one")).to_have_count(2)
    expect(page.locator("#progress")).to_have_text(re.compile(r"\d+ tokens in"), timeout=PATIENCE)
    expect(page.locator('[data-row="0"] .new')).to_have_count(12)
    assert page.url.count("f=") == 2


def test_without_scripts_words_find_features_to_add(open_page: OpenPage) -> None:
    page = open_page(f"/steer?f={FEATURE}", java_script_enabled=False)
    page.get_by_label("Add a feature").fill("river")
    page.get_by_role("button", name="Add", exact=True).last.click()
    expect(page.get_by_text("Features with “river”")).to_be_visible()
    page.locator(".add .chip").first.click()
    expect(page.locator(".held-one")).to_have_count(2)


def test_a_reload_goes_on_with_the_texts(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch, at=3) as held:
        steer(page)
        expect(page.locator('[data-row="1"] .new')).to_have_count(2, timeout=PATIENCE)
        page.reload()
        expect(page.locator('[data-row="1"] .new')).to_have_count(2, timeout=PATIENCE)
        held.let_go.set()
        expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)
    page.reload()
    expect(page.locator('[data-row="1"] .new')).to_have_count(12)
    expect(page.locator("#progress")).to_be_empty()


def test_another_form_ends_what_was_written_for_the_first(
    open_page: OpenPage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch) as held:
        steer(page)
        assert held.reached.wait(SECONDS)
        job = server.app.state.engine.worker._running[0]
        page.locator(".add .chip").first.click()
        expect(page.locator(".held-one")).to_have_count(2)
        assert job._cancelled.wait(SECONDS)
        held.let_go.set()
        expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)


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


def test_the_rows_of_a_phone_do_not_overlap(open_page: OpenPage) -> None:
    page = open_page("/steer?f=tiny/1-relu-64/9:0.001&f=tiny/1-relu-64/3:off", width=390)
    for one in page.locator(".held-one").all():
        assert one.locator(".held-strength").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert len({one.bounding_box()["x"] for one in page.locator(".held-remove").all()}) == 1


def test_one_at_a_time(open_page: OpenPage, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(ASKED)
    visitor = next(cookie["value"] for cookie in page.context.cookies() if cookie["name"] == "visitor")
    with brake(monkeypatch) as held, server.open(visitor, seed=1) as first:
        assert held.reached.wait(SECONDS)
        with waiting(server, visitor, seed=2) as (second, _):
            steer(page)
            expect_a_message(page, "one request running and one waiting", again=True)
            held.let_go.set()
            assert second.result()[-1][1] == "done"
        first.read()
    expect_it_goes_on(page)


def test_a_full_queue_says_so(open_page: OpenPage, server: Server) -> None:
    page = open_page(ASKED)
    worker = server.app.state.engine.worker
    capacity, worker._capacity = worker._capacity, 0
    try:
        steer(page)
        expect_a_message(page, "try again in a few seconds", again=True)
    finally:
        worker._capacity = capacity
    expect_it_goes_on(page)


def test_a_failure_in_mid_stream_says_so(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch, at=3) as held:
        held.broken = True
        steer(page)
        expect(page.locator('[data-row="1"] .new')).to_have_count(2, timeout=PATIENCE)
        held.let_go.set()
        expect_a_message(page, "The server failed to answer")
        expect(page.locator('[data-row="1"] .ending')).to_have_text("Not finished.")
    expect_it_goes_on(page, "Write")


def test_a_lost_connection_is_taken_up_again(
    open_page: OpenPage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch, at=3) as held:
        steer(page)
        expect(page.locator('[data-row="1"] .new')).to_have_count(2, timeout=PATIENCE)
        proxy.cut()
        expect(page.locator("#progress")).to_contain_text("Connecting again")
        held.let_go.set()
        expect(page.locator("#progress")).to_contain_text("24 tokens in", timeout=PATIENCE)
    assert [page.locator(f'[data-row="{row}"] .new').count() for row in range(2)] == [12, 12]
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_server_that_is_gone_says_so(open_page: OpenPage, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch, at=3) as held:
        steer(page)
        expect(page.locator('[data-row="1"] .new')).to_have_count(2, timeout=PATIENCE)
        proxy.refusing = True
        proxy.cut()
        expect_a_message(page, re.compile("lost|cannot be reached"), again=True)
        held.let_go.set()
    page.get_by_role("button", name="Try again").click()
    expect_a_message(page, "cannot be reached", again=True)
    proxy.refusing = False
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#progress")).to_contain_text(re.compile("24 tokens in|Written before"), timeout=PATIENCE)


def test_stopping_frees_the_button_and_the_worker(
    open_page: OpenPage, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(ASKED)
    with brake(monkeypatch) as held:
        steer(page)
        assert held.reached.wait(SECONDS)
        job = server.app.state.engine.worker._running[0]
        expect(page.locator("#texts")).to_be_visible()
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#progress")).to_have_text("Stopped.")
        expect(page.locator("#go")).to_be_enabled()
        expect(page.locator('[data-row="1"] .ending')).to_contain_text("Stopped.")
        assert job._cancelled.wait(SECONDS)


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


LUMINANCE = """(cell, property) => {
    const value = getComputedStyle(cell)[property];
    const parts = value.match(/[\\d.]+/g).slice(0, 3).map((part) => Number(part) / (value.startsWith("rgb") ? 255 : 1));
    const linear = parts.map((part) => ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}"""


@pytest.mark.parametrize(("scheme", "least"), [("light", 1.9), ("dark", 2.7)])
def test_probabilities_can_be_seen_and_the_text_on_them_read(open_page: OpenPage, scheme: str, least: float) -> None:
    page = open_page(ASKED, color_scheme=scheme)
    steer(page)
    expect(page.locator("#progress")).to_contain_text("24 tokens", timeout=PATIENCE)
    open_settings(page)
    page.get_by_label("Probability").check()
    token, card = page.locator('[data-row="1"] .new').first, page.locator('[data-row="1"] .bubble')
    token.evaluate("token => { token.dataset.p = 11; }")

    def contrast(one: float, other: float) -> float:
        return (max(one, other) + 0.05) / (min(one, other) + 0.05)

    marked = token.evaluate(LUMINANCE, "backgroundColor")
    assert contrast(marked, card.evaluate(LUMINANCE, "backgroundColor")) >= least
    assert contrast(marked, token.evaluate(LUMINANCE, "color")) >= 4.5


@in_every_view
@pytest.mark.parametrize("sweep", [False, True])
def test_pages_are_accessible_and_nothing_runs_over_the_edge(
    open_page: OpenPage, server: Server, width: int, scheme: str, sweep: bool
) -> None:
    features = [{"feature": f"tiny/1-relu-64/{index}", "strength": 3} for index in (3, 7)]
    result = server.steer(features=features, sweep=sweep, prompt="the <script>alert(1)</script> river " + "a" * 60)
    forms = [] if sweep else ["/steer", f"/steer?f={FEATURE}:2&f=tiny/1-relu-64/7:-3"]
    for path in (*forms, result[-1][2]["result"] + "?colour=probability"):
        page = open_page(path, width=width, color_scheme=scheme)
        check_view(page, width, scheme)
        tables = page.locator(".table-wrap")
        assert tables.evaluate_all("tables => tables.every((one) => one.scrollWidth <= one.clientWidth)")
