import re

import jinja2
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.html.policies import PLOTS, STRICT
from backend.settings import Settings
from data.layout import StorePaths
from tests.support.fake_model import HOSTILE
from tests.support.fake_run import DEAD, MARKED, MODEL_NAME, NEGLIGIBLE, RARE
from tests.support.pages import TEMPLATES, Page, check_nothing_inline

FEATURE_PAGES = [
    f"/tiny/1-relu-256/{index}?kind={kind}" for index in (0, 3, RARE, MARKED) for kind in ("top", "contrast")
]


@pytest.mark.parametrize("path", FEATURE_PAGES)
def test_nothing_inline_and_nothing_from_elsewhere(client, path):
    check_nothing_inline(client.get(path).text)


@pytest.mark.parametrize("path", FEATURE_PAGES)
def test_hostile_tokens_are_shown_literally(pages, path):
    example = pages.get(path).context["examples"].groups[0].examples[0]
    page = Page(pages.get(path).text)
    shown = "".join(token.text for token in example.tokens)
    assert shown in page.text
    assert not {"\x00", "\u202e", "\u200f", "\x1b"} & set(page.text)
    scripts = [a for tag, a in page.elements if tag == "script" and a.get("type") != "application/json"]
    assert all((a.get("src") or "").startswith("/static/") for a in scripts)


def test_hostile_texts_do_reach_the_pages(client):
    seen = "".join(Page(client.get(f"/tiny/1-relu-256/{index}").text).text for index in range(20))
    assert sum(text.strip() in seen for text in HOSTILE if text.isprintable()) > 8
    assert '<svg onload=alert(6)> "quoted" & more' in Page(client.get(f"/tiny/1-relu-256/{MARKED}").text).text


def test_a_dead_feature_says_so(client):
    page = Page(client.get(f"/tiny/1-relu-64/{DEAD}").text)
    tokens = client.app.state.library.catalogue().runs[0].num_tokens
    assert f"0 of {tokens:,} tokens" in page.text
    assert "/steer?f=tiny/1-relu-64/5" not in page.links()


def test_few_examples_say_why(client):
    assert "instead of 20" in Page(client.get(f"/tiny/1-relu-64/{RARE}").text).text
    saes = client.get("/api/v1/features/tiny/1-relu-256?sort=density").json()["features"]
    details = (client.get(f"/api/v1/features/tiny/1-relu-256/{feature['index']}").json() for feature in saes)
    plenty = next(feature["index"] for feature in details if feature["num_examples"]["bottom"] == 20)
    assert "instead of" not in Page(client.get(f"/tiny/1-relu-256/{plenty}?kind=bottom").text).text


def test_what_batchtopk_keeps_stands_beside_k(client, pages):
    saes = {sae["name"]: sae["metrics"] for sae in client.get("/api/v1/saes").json()}
    shown = Page(pages.get("/tiny/1-batchtopk-64").text).text
    assert f"BatchTopK, k 6; keeps {saes['1-batchtopk-64']['l0']:.2f} per held-out token" in shown
    assert "per held-out token" not in Page(pages.get("/tiny/1-relu-64").text).text


def test_losses_come_before_what_is_recovered_and_name_their_sample(pages):
    metrics = pages.get("/tiny/1-relu-64").context["sae"].metrics
    names = [metric.name for metric in metrics]
    assert names.index("Loss added") < names.index("Recovered") < names.index("Recovered, against zeros")
    by_name = {metric.name: metric for metric in metrics}
    assert "±" in by_name["Loss added"].text
    assert by_name["Recovered"].text == "the baseline is no worse than the model", "the fake model is random"
    assert "held-out documents" in by_name["KL"].explanation


def test_tabs_are_links_with_counts(pages):
    answer = pages.get("/tiny/1-relu-64/3?kind=bottom")
    feature = answer.context["feature"]
    page = Page(answer.text)
    for tab in answer.context["examples"].tabs:
        assert tab.href in page.links()
    assert {tab.title: tab.count for tab in answer.context["examples"].tabs}["Bottom"] == feature.num_examples["bottom"]


def test_previous_and_next_stop_at_the_ends(pages):
    assert pages.get("/tiny/1-relu-64/0").context["previous"] is None
    assert pages.get("/tiny/1-relu-64/63").context["next"] is None
    assert pages.get("/tiny/1-relu-64/62").context["next"] == "/tiny/1-relu-64/63"


def test_previous_and_next_keep_how_examples_are_seen_but_not_which(pages):
    context = pages.get("/tiny/1-relu-256/3?kind=contrast&context=16").context
    assert context["previous"] == "/tiny/1-relu-256/2?kind=contrast&context=16"
    assert context["next"] == "/tiny/1-relu-256/4?kind=contrast&context=16"
    assert pages.get("/tiny/1-relu-256/3?context=full&example=1").context["next"] == "/tiny/1-relu-256/4?context=full"


def test_every_link_of_every_page_leads_somewhere(client):
    seen: set[str] = set()
    for path in [
        "/",
        "/tiny/1-relu-64?sort=label&q=a",
        "/tiny/1-relu-64/3",
        "/explore?f=tiny/1-relu-64/3",
        "/search?q=a",
    ]:
        for link in Page(client.get(path).text).links() - seen:
            seen.add(link)
            target = link if link.startswith("/") else path.split("?")[0] + link
            assert client.get(target).status_code == 200, (path, link)


def test_a_list_keeps_its_filters_when_it_is_sorted_and_turned(pages):
    answer = pages.get("/tiny/1-relu-256?q=a&kind=active&per_page=5&min_density=")
    density = next(column for column in answer.context["columns"] if column.title == "Density")
    sorted_again = pages.get("/tiny/1-relu-256" + density.href).context["selection"]
    assert (sorted_again.q, sorted_again.kind, sorted_again.sort) == ("a", "active", "density")
    turned = pages.get("/tiny/1-relu-256" + answer.context["pager"].next).context["selection"]
    assert (turned.page, turned.q) == (2, "a")


def test_the_current_column_turns_around(pages):
    answer = pages.get("/tiny/1-relu-256?sort=max")
    column = next(column for column in answer.context["columns"] if column.title == "Maximum")
    assert column.direction == "descending"
    assert pages.get("/tiny/1-relu-256" + column.href).context["selection"].order == "asc"


def test_policies_allow_no_more_than_pages_need(client):
    assert client.get("/").headers["content-security-policy"] == STRICT
    assert client.get("/tiny/1-relu-64/3").headers["content-security-policy"] == PLOTS
    assert client.get("/tiny/1-relu-64").headers["content-security-policy"] == PLOTS
    assert client.get("/explore").headers["content-security-policy"] == STRICT
    assert client.get("/api/v1/saes").headers["content-security-policy"] == STRICT
    for policy in (STRICT, PLOTS):
        assert "unsafe-inline" not in policy
        assert "unsafe-eval" not in policy


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("min_density=abc", "min_density must be a number, not 'abc'."),
        ("page=-1", "page must be at least 1, not '-1'."),
        ("page=1.5", "page must be a whole number, not '1.5'."),
        ("max_density=2", "max_density must be at most 1, not '2'."),
        (
            "sort=zz",
            "sort must be interest, index, label, density, max, mean, label_score, label_precision, label_recall, "
            "specificity or highest_r, not 'zz'.",
        ),
        ("alive=zz", "alive must be true or false, not 'zz'."),
        ("q=" + "a" * 201, "q has 201 characters; 200 are the most."),
    ],
)
def test_a_query_that_does_not_fit_is_told_in_plain_words_with_a_way_back(pages, query, says):
    answer = pages.get("/tiny/1-relu-64?" + query)
    assert (answer.status_code, answer.context["detail"]) == (422, says)
    assert "/tiny/1-relu-64" in Page(answer.text).links()


@pytest.mark.parametrize(("path", "last"), [("/tiny/1-relu-256?per_page=100", 3), ("/search?q=river&per_page=2", 2)])
def test_beyond_the_last_page_the_last_one_is_named(pages, path, last):
    answer = pages.get(f"{path}&page=99999")
    assert answer.status_code == 200
    pager = answer.context["pager"]
    assert pager.beyond
    assert f"the last is page {pager.last_page}" in Page(answer.text).text
    assert f"page={pager.last_page}" in pager.previous
    final = pages.get(path.split("?")[0] + pager.previous).context["pager"]
    assert (final.beyond, final.next) == (False, None)
    assert pager.last_page >= last


def test_a_models_address_leads_to_its_part_of_the_home_page(client):
    answer = client.get("/tiny", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/#run-fake")
    assert 'id="run-fake"' in client.get("/").text
    assert client.get("/none").status_code == 404


def test_random_leads_to_a_live_feature(client):
    answer = client.get("/random?sae=1-relu-256", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/tiny/1-relu-256/")
    assert client.get("/random?sae=none").status_code == 404


def test_pages_that_are_not_there_are_designed(pages):
    for path in (
        "/none",
        "/tiny/none",
        "/tiny/1-relu-64/64",
        "/tiny/1-relu-64/x",
        "/explore?f=tiny/1-relu-64/64",
        "/explore?f=tiny/1-relu-64/%C2%B2",
    ):
        answer = pages.get(path)
        assert (answer.status_code, answer.template.name) == (404, "base/error.html")
    assert pages.get("/tiny/1-relu-64?page=0").status_code == 422


def test_a_failure_is_a_designed_page_without_secrets(published_store: StorePaths, monkeypatch, caplog):
    app: FastAPI = create_app(Settings(store=published_store.root, live=False))
    monkeypatch.setattr("backend.home.routes.home_page_of", lambda *published: 1 / 0)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/")
    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_templates_compile_and_none_is_left_over():
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES))
    paths = list(TEMPLATES.rglob("*.html"))
    used = {name for path in paths for name in re.findall(r'"([\w./]+\.html)"', path.read_text())}
    for path in paths:
        environment.parse(path.read_text())
        assert not path.name.startswith("_") or str(path.relative_to(TEMPLATES)) in used


def test_pages_come_compressed_and_small(client):
    with client.stream("GET", "/tiny/1-relu-64/3", headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assets = client.app.state.assets
    first_load = len(raw) + sum(len(asset.gzipped) for asset in assets._files.values())
    assert first_load < 150_000


def test_a_column_of_scores_is_shown_only_where_there_are_some(pages):
    answer = pages.get("/tiny/1-relu-64?sort=label_score&labelled=true")
    shown = [column.title for column in answer.context["columns"]]
    assert shown == ["Index", "Label", "Density", "Maximum", "Mean", "Right", "Covers", "Neuron |r|", "Interest"]
    feature = answer.context["result"].features[0]
    assert f"{100 * feature.label_recall:.0f}%" in Page(answer.text).text
    assert "Best label" in [link.text for link in answer.context["presets"]]
    assert all(f.label for f in answer.context["result"].features)


def test_filters_stay_chosen_in_the_form(client):
    text = client.get("/tiny/1-relu-64?alive=true&minor=true&labelled=false&min_density=0.01").text
    assert '<option value="active" selected>all but dead' in text
    assert '<option value="false" selected>without' in text
    assert 'name="min_density"' in text
    assert 'value="0.01"' in text


@pytest.mark.parametrize("path", ["/tiny/1-relu-256?", "/search?q=a&"])
def test_a_density_is_typed_as_a_share_or_in_per_cent(pages, path):
    name = "selection" if "256" in path else "asked"
    asked = pages.get(f"{path}min_density=0.5%25&max_density= 20 %25").context[name]
    assert (asked.min_density, asked.max_density) == (0.005, 0.2)
    assert pages.get(f"{path}min_density=x%25").context["detail"] == "min_density must be a number, not 'x%'."


def test_the_share_of_dead_features_is_told_alike_everywhere(pages):
    home = pages.get("/").context["comparisons"][0]
    for row in home.rows:
        told = next(cell.text for cell in row.cells if cell.title == "Dead")
        metrics = pages.get(row.sae.href).context["sae"].metrics
        assert told == next(metric.text for metric in metrics if metric.name == "Dead")


@pytest.mark.parametrize(
    "address",
    ["/", "/tiny/1-relu-64", "/explore", "/compare", "/prompt", "/steer", "/search", "/tiny/1-relu-64/3?embed=1"],
)
def test_pages_call_the_model_by_its_name(client: TestClient, address: str) -> None:
    shown = Page(client.get(address).text).text
    assert MODEL_NAME in shown
    assert "tiny, layer" not in shown, "that is only its part of addresses"


def test_one_switch_shows_negligible_features_in_the_table(client: TestClient) -> None:
    feature, usual, every = f"/tiny/1-relu-64/{NEGLIGIBLE}", "/tiny/1-relu-64?per_page=200", {"minor": "true"}
    assert feature not in Page(client.get(usual).text).links()
    page = Page(client.get(usual, params={"per_page": 200, **every}).text)
    assert feature in page.links()
    assert any("kind=all" in link and "sort=density" in link for link in page.links()), "other lists keep the switch"
    listed = client.get("/api/v1/features/tiny/1-relu-64", params={"per_page": 200}).json()
    assert NEGLIGIBLE not in {one["index"] for one in listed["features"]}
    listed = client.get("/api/v1/features/tiny/1-relu-64", params={"per_page": 200, **every}).json()
    assert NEGLIGIBLE in {one["index"] for one in listed["features"]}


def test_the_map_says_what_it_leaves_out(client: TestClient) -> None:
    assert "Show 5 rare and negligible ones" in Page(client.get("/explore").text).text
    assert "Hide 5 rare and negligible ones" in Page(client.get("/explore?minor=1").text).text


def test_the_parameter_is_described(client: TestClient) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    neighbours = "/api/v1/features/{model}/{sae}/{index}/neighbours"
    for path in ("/api/v1/features/{model}/{sae}", neighbours, "/api/v1/search", "/api/v1/map", "/api/v1/compare"):
        (found,) = [one for one in paths[path]["get"]["parameters"] if one["name"] == "minor"]
        assert "negligible" in found["description"].lower()


@pytest.mark.parametrize("address", ["/", "/tiny/1-relu-64/3", "/completeness", "/nothing"])
def test_every_page_leads_to_completeness_neurons_and_scaling(client: TestClient, address: str) -> None:
    page = client.get(address).text.partition('<nav aria-label="More pages">')[2].partition("</nav>")[0]
    assert Page(page).links() == {"/completeness", "/neurons", "/scaling"}
    assert ('href="/completeness" aria-current="page"' in page) is (address == "/completeness")
