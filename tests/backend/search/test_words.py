import json
import re

import pytest

from backend.published import search as search_module
from backend.published.marking import mark
from backend.published.search import WordSearch, matching_rows, search
from backend.texts import normalise
from data.published.schemas import SEARCH_FIELDS
from data.published.terms import all_words, query_words
from tests.support.fake_model import HOSTILE
from tests.support.fake_run import DEAD, MARKED
from tests.support.pages import Page

HOSTILE_QUERIES = [
    *HOSTILE, '"', '"unbalanced', "'", "''", "a' OR 1=1 --", "*", "?", "%", "_", "\\", "a\\", "(", ")", "[a", "NOT a",
    "a AND", "a OR", "+a", "-a", "~a", "a^4", "label:a", "{", "}", "$(a)", "a&&b", "||", "\0", "a\0b",
    " ", "\t\n", "\u200d", "\ufe0f", "😀", "😀a", "\ud7ff", "\uffff", "\U0010ffff", "e\u0301", "x" * 200,
    "a " * 100, "é" * 200, "<b>a</b>", "\u202ea", "日本", "½",
]  # fmt: skip


@pytest.fixture(scope="session")
def published(client):
    """What every feature of the run is found by, read plainly: row -> field -> texts."""
    run = client.app.state.library.catalogue().runs[0]
    rows = range(run.tables.count("features"))
    features = run.tables.take("features", rows).to_pylist()
    found = run.tables.take("search", rows, ["texts", "peak_words"])
    texts, peaks = found["texts"].to_pylist(), found["peak_words"].to_pylist()
    vocabulary = run.tables.vocabulary
    for feature, around, at_peak in zip(features, texts, peaks, strict=True):
        promoted = [vocabulary[token].decode(errors="ignore") for token in feature["promoted"]]
        places = {"label": [feature["label"]], "peaks": at_peak, "promoted": promoted, "examples": around}
        feature["forms"] = {name: {w.form for text in some for w in all_words(text)} for name, some in places.items()}
    return features


def fields_of(feature, wanted, fields=SEARCH_FIELDS):
    """Where a feature has all the words, by trying each."""
    return [
        name for name in fields if all(any(f.startswith(w) for f in feature["forms"][name]) for w in wanted)
    ]  # fmt: skip


def found_names(result):
    return {(hit.feature.sae, hit.feature.index) for hit in result.hits}


@pytest.fixture
def run(catalogue):
    return catalogue.runs[0]


ALIVE = ("true", "false", "all")


def kind_of(f):
    """What a feature is called, read plainly."""
    return "dead" if not f["num_active"] else "rare" if f["rare"] else "negligible" if f["negligible"] else "live"


KINDS = {
    **{kind: (kind,) for kind in ("live", "rare", "negligible", "dead")},
    "active": ("live", "rare", "negligible"), "all": ("live", "rare", "negligible", "dead"),
}  # fmt: skip


@pytest.mark.parametrize(
    "q", ["river", "ri", "Univ", "oxford", "the river", "a", "onload", "café", "7", "(", "שלום", "日", "zz"]
)
@pytest.mark.parametrize(
    "filters",
    [{}, {"within": "label"}, {"within": "promoted", "alive": "all"}, {"within": "examples", "sae": "1-relu-256"},
     {"alive": "false"}, {"minor": True}, *({"kind": kind} for kind in KINDS),
     {"min_density": 0.02, "max_density": 0.05, "sae": "1-relu-64"}],
)  # fmt: skip
def test_what_is_found_is_what_a_scan_finds(run, published, q, filters, monkeypatch):
    monkeypatch.setattr(search_module, "MAX_FOUND", 10_000)
    asked = WordSearch(q=q, per_page=100, **filters)
    expected = {
        (f["sae"], f["index"]): fields_of(f, query_words(q), asked.fields)
        for f in published
        if fields_of(f, query_words(q), asked.fields)
        and kind_of(f) in KINDS[asked.shown]
        and asked.sae in ("", f["sae"])
        and f["density"] >= (asked.min_density or 0)
        and f["density"] <= (asked.max_density or 1)
    }
    pages = [search(run, asked.changed(page=page)) for page in range(1, 6)]
    hits = [hit for page in pages for hit in page.hits]
    assert {(hit.feature.sae, hit.feature.index): hit.found_in for hit in hits} == expected
    assert len(hits) == len(expected) == pages[0].total
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("field", SEARCH_FIELDS)
def test_a_word_in_one_field_alone_is_found_there_and_marked_there(run, published, field):
    alive = [(f, w) for f in published if f["live"] for w in sorted(f["forms"][field])]
    feature, word = next((f, w) for f, w in alive if w.isalpha() and fields_of(f, [w]) == [field])
    hits = search(run, WordSearch(q=word, sae=feature["sae"], per_page=100)).hits
    hit = next(h for h in hits if h.feature.index == feature["index"])
    assert hit.found_in == [field]
    marked = {
        "label": [s.text for s in hit.label if s.hit],
        "promoted": [s.text for token in hit.promoted for s in token if s.hit],
        "examples": [s.text for text in hit.texts for s in text if s.hit],
    }
    if field != "peaks":  # these are shown within the texts, if at all
        assert marked[field]
        assert all(query_words(text)[0].startswith(word) for text in marked[field])
    assert not any(found for name, found in marked.items() if name != field)
    others = [name for name in SEARCH_FIELDS if name != field]
    for other in others:
        found = search(run, WordSearch(q=word, within=other, sae=feature["sae"], per_page=100))
        assert (feature["sae"], feature["index"]) not in found_names(found)


def test_dead_features_are_found_only_when_asked_for(run, published):
    dead = next(f for f in published if f["index"] == DEAD)
    word = next(w for w in sorted(dead["forms"]["promoted"]) if w.isalnum())
    place = (dead["sae"], DEAD)
    found = {alive: search(run, WordSearch(q=word, alive=alive, sae=dead["sae"], per_page=100)) for alive in ALIVE}
    assert {alive: place in found_names(result) for alive, result in found.items()} == {
        "true": False, "false": True, "all": True,
    }  # fmt: skip
    hit = next(hit for hit in found["false"].hits if hit.feature.index == DEAD)
    assert (hit.label[0].text, hit.texts) == ("dead feature", [])


@pytest.mark.parametrize("kind", ["rare", "negligible"])
def test_minor_features_are_found_only_when_asked_for(client, run, published, kind):
    hidden = next(f for f in published if f[kind])
    word = next(w for w in sorted(hidden["forms"]["promoted"]) if w.isalnum())
    place = (hidden["sae"], hidden["index"])
    usual, every = (WordSearch(q=word, sae=hidden["sae"], per_page=100, minor=minor) for minor in (False, True))
    assert place not in found_names(search(run, usual))
    assert place in found_names(search(run, every))
    assert '<option value="active" selected>' in client.get("/search" + every.href()).text
    for minor in (False, True):
        answer = client.get("/api/v1/search", params={"q": word, "sae": place[0], "per_page": 100, "minor": minor})
        assert (place[1] in {hit["feature"]["index"] for hit in answer.json()["hits"]}) is minor


@pytest.mark.parametrize(
    ("older", "kind"),
    [("", "live"), ("alive=true", "live"), ("minor=true", "active"), ("alive=false", "dead"), ("alive=all", "all"),
     ("alive=false&minor=true", "dead"), ("alive=all&minor=true", "all"), ("alive=false&kind=rare", "rare"),
     ("kind=", "live")],
)  # fmt: skip
def test_the_form_has_one_choice_of_kinds_also_for_older_addresses(pages, older, kind):
    answer = pages.get(f"/search?q=the&{older}")
    assert answer.text.count(" selected>") == 1
    assert f'<option value="{kind}" selected>' in answer.text
    assert 'name="minor"' not in answer.text
    assert 'name="alive"' not in answer.text
    assert answer.context["narrowed"] is (kind != "live")


def test_what_is_counted_is_what_can_be_paged_through(pages, monkeypatch):
    monkeypatch.setattr(search_module, "MAX_FOUND", 5)
    context = pages.get("/search?q=r&per_page=4").context
    assert context["summary"].endswith(f"here are the {context['result'].total} that match best")
    assert context["pager"].text.endswith(f"of {context['result'].total}")


def test_more_than_it_goes_through_is_said(run, monkeypatch):
    monkeypatch.setattr(search_module, "MAX_FOUND", 5)
    result = search(run, WordSearch(q="r", per_page=4))
    assert (result.total, result.more, len(result.hits)) == (5, True, 4)
    assert len(search(run, WordSearch(q="r", per_page=4, page=2)).hits) == 1
    assert search(run, WordSearch(q="onload", within="label")).more is False


def test_matching_rows_are_the_first_of_the_search(run):
    asked = WordSearch(q="a", per_page=100)
    hits = search(run, asked).hits
    first_rows = {sae.name: sae.record.first_row for sae in run.saes}
    rows = {(hit.feature.sae, hit.feature.index): first_rows[hit.feature.sae] + hit.feature.index for hit in hits}
    assert matching_rows(run, asked, run.saes, 7) == list(rows.values())[:7]
    two = [run.saes[0], run.saes[2]]
    kept = [row for (sae, _), row in rows.items() if sae in {sae.name for sae in two}]
    assert matching_rows(run, asked, two, 5) == kept[:5]


@pytest.mark.parametrize("q", HOSTILE_QUERIES)
def test_no_query_fails(client, q):
    answer = client.get("/api/v1/search", params={"q": q})
    if query_words(q):
        assert answer.status_code == 200
        assert answer.json()["words"] == query_words(q)
    else:
        assert answer.status_code == 422
        assert "type a word" in answer.json()["detail"]
    page = client.get("/search", params={"q": q})
    assert page.status_code == 200
    found = Page(page.text)
    assert next(a["value"] for tag, a in found.elements if tag == "input" and "value" in a) == normalise(q)
    assert len([tag for tag, _ in found.elements if tag == "script"]) == 3
    assert not {"\x00", "\u202e", "\u200f", "\x1b"} & set(found.text)


@pytest.mark.parametrize(
    "query",
    ["q=" + "x" * 201, "q=a&in=nowhere", "q=a&page=0", "q=a&min_density=2", "q=a&max_density=nan",
     "q=a&alive=maybe", "q=a&per_page=1000", "q="],
)  # fmt: skip
def test_what_does_not_fit_is_said(client, query):
    answer = client.get(f"/api/v1/search?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert re.match(r"[\w_]+(:| must| has) ", answer.json()["detail"])
    if query != "q=":
        assert client.get(f"/search?{query}").status_code == 422


def test_a_run_that_is_named_stays_named(pages):
    context = pages.get("/search?q=river&run=fake&per_page=2").context
    assert pages.get("/search" + context["pager"].next).context["run_name"] == "fake"
    assert pages.get("/search?q=river&run=none").status_code == 404


def test_an_sae_that_is_not_there_is_not_found(client):
    assert client.get("/api/v1/search?q=a&sae=none").status_code == 404
    assert client.get("/search?q=a&sae=none").status_code == 404


def test_marks_are_whole_words_and_the_text_is_literal():
    marked = mark('<b>Rivers</b>\n"river" \u202edriver\x00', ["river"])
    assert [s.text for s in marked if s.hit] == ["Rivers", "river"]
    assert "".join(s.text for s in marked) == '<b>Rivers</b>↵"river" ‹RLO›driver\\x00'
    assert mark("", ["a"]) == []


def test_markup_in_a_label_is_shown_and_marked(client):
    page = client.get("/search?q=svg+onload&in=label")
    assert "&lt;<mark>svg</mark> <mark>onload</mark>=alert(6)&gt;" in page.text
    assert f"/{MARKED}" in page.text
    assert "<svg onload" not in page.text


def test_pages_say_where_they_stand(pages):
    first = pages.get("/search?q=r&per_page=5").context
    assert first["pager"].previous is None
    second = pages.get("/search" + first["pager"].next).context
    assert second["asked"].page == 2
    assert second["pager"].previous == "?q=r&per_page=5"
    assert second["pager"].text.startswith("6–10 of ")


def test_nothing_found_says_what_to_leave_out_and_each_way_leads_on(pages):
    answer = pages.get("/search?q=river+xylophone&in=label&sae=1-relu-64&min_density=0.9&page=3")
    assert "No feature has all of" in answer.text
    addresses = [link.href for link in answer.context["relax"]]
    assert len(addresses) == 6
    asked = [pages.get("/search" + address).context["asked"] for address in addresses]
    assert [a.kind for a in asked].count("active") == 1
    assert {(a.page, a.within, a.sae, a.min_density, a.q) for a in asked if not a.kind} == {
        (1, None, "1-relu-64", 0.9, "river xylophone"),
        (1, "label", "", 0.9, "river xylophone"), (1, "label", "1-relu-64", None, "river xylophone"),
        (1, "label", "1-relu-64", 0.9, "river"), (1, "label", "1-relu-64", 0.9, "xylophone"),
    }  # fmt: skip


def test_empty_and_wordless_searches_explain_themselves(pages):
    assert "The beginning of a word is enough" in pages.get("/search").text
    assert "There is no word" in pages.get("/search?q=%00+%E2%80%8D").text
    for link in pages.get("/search").context["starts"]:
        assert pages.get("/search" + link.href).status_code == 200


def test_the_api_describes_it(client):
    described = client.get("/api/v1/openapi.json").json()["paths"]["/api/v1/search"]["get"]
    assert {p["name"] for p in described["parameters"]} >= {"q", "in", "sae", "kind", "min_density", "page", "run"}
    assert "beginning" in json.dumps(described["parameters"])
    assert "/api/v1/search" in client.get("/docs").text


@pytest.mark.parametrize(
    "q",
    ["1-relu-64/9", " tiny/1-relu-64/9 ", "https://example.org/tiny/1-relu-64/9?kind=contrast#examples"],
)
def test_a_name_leads_to_its_feature(client, q):
    answer = client.get("/search", params={"q": q}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/tiny/1-relu-64/9")


@pytest.mark.parametrize("q", ["1-relu-64/64", "and/or", "none/9", "//example.org/9"])
def test_what_names_no_feature_is_searched_for(client, q):
    assert client.get("/search", params={"q": q}, follow_redirects=False).status_code == 200


def test_promoted_tokens_are_shown_where_they_were_searched_for(pages):
    hits = [view for word in ("river", "the", "a") for view in pages.get(f"/search?q={word}").context["hits"]]
    assert hits
    for view in hits:
        found = [token for token in view.hit.promoted if any(segment.hit for segment in token)]
        assert view.promoted == found
    assert all(view.promoted for view in hits if "promoted tokens" in view.found_in)
