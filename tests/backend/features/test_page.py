"""The page of a feature: tabs, context, whole documents, what others embed, and a text that one tries."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from backend.exceptions import BusyError
from backend.features.links import about, embed_html, floor_text
from backend.features.missing import missing_examples
from backend.features.page import caution_of
from backend.html.policies import EMBEDDED
from backend.html.spans import tokens_html
from backend.html.svg import MAP_HEIGHT, MAP_MARGIN, MAP_WIDTH, Place, small_map
from backend.html.tokens import TokenView, text_direction
from backend.published.catalogue import OpenSAE
from backend.published.documents import PAGE_TOKENS, WholeDocument, find_page, sequences_of, whole_document
from backend.published.examples import get_examples
from backend.published.features import get_feature
from backend.settings import Settings
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLE_KINDS
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from tests.support.fake_run import COPIED, COPIES, DEAD, MARKED, WINDOW
from tests.support.pages import Page, app_with_contexts

FEATURE = "/tiny/1-relu-64/3"


@pytest.mark.parametrize("width", [0, 16, 40])
def test_a_narrower_context_is_a_part_of_the_whole_one(sae, width):
    feature = get_feature(sae, 3)
    for kind in EXAMPLE_KINDS:
        for narrow, wide in zip(get_examples(sae, feature, kind, width), get_examples(sae, feature, kind), strict=True):
            centre = next(i for i, token in enumerate(narrow.tokens) if token.centre)
            assert narrow.start + centre == narrow.position == wide.position
            assert centre <= width >= len(narrow.tokens) - centre - 1
            skip = narrow.start - wide.start
            values = [token.value for token in wide.tokens[skip : skip + len(narrow.tokens)]]
            assert [token.value for token in narrow.tokens] == values
    assert width < WINDOW or narrow == wide


def test_a_shortage_is_explained_by_its_counts(sae):
    feature = replace(
        get_feature(sae, 3),
        max=5.0, num_active=40, num_above_floor=3, band_counts=[88, 1, 0, 9, 3],
        num_examples={"top": 12, "bottom": 3, "contrast": 8, "interval": 14},
    )  # fmt: skip
    floor = floor_text(sae)
    assert {kind: missing_examples(sae, feature, kind) for kind in EXAMPLE_KINDS} == {
        "top": "12 instead of 20: it is active in 12 documents of those that were read, on 40 tokens.",
        "bottom": f"3 instead of 20: its activation reaches the floor of {floor} on 3 tokens.",
        "contrast": "8 instead of 20: its strongest tokens stand in 8 other places.",
        "interval": "14 instead of 25: it is active in the band 1 to 2 on one token, in the band 2 to 3 on no token "
        "and in the band 4 to 5 on 3 tokens.",
    }
    assert floor in about(sae, "bottom")


def test_no_reason_is_given_that_the_counts_do_not_bear(sae):
    few = {"top": 12, "bottom": 3, "contrast": 20, "interval": 9}
    feature = replace(get_feature(sae, 3), num_active=5, num_above_floor=88, band_counts=[88] * 5, num_examples=few)
    assert missing_examples(sae, feature, "top") == "12 instead of 20."
    assert missing_examples(sae, feature, "bottom") == "3 instead of 20."
    assert missing_examples(sae, feature, "contrast") == ""
    assert missing_examples(sae, feature, "interval") == "9 instead of 25."
    never = replace(feature, max=0.05, num_above_floor=0, num_examples=few | {"bottom": 0})
    assert "never reaches the floor" in missing_examples(sae, never, "bottom")


def test_a_feature_that_says_little_of_a_text_is_told(sae):
    feature = replace(get_feature(sae, 3), label="", at_start=0.9, density=0.2)
    first = caution_of(feature)
    assert first is not None
    assert "passage begins" in first.title
    assert first.text.startswith("90% of its")
    often = caution_of(replace(feature, label="the start of a passage"))
    assert often is not None
    assert often.title == "Common: active on 20% of all tokens."
    assert caution_of(replace(feature, at_start=0.5, density=0.05)) is None


def test_what_limits_a_feature_stands_above_its_figures_and_what_is_not_known_last(pages, sae):
    rare = next(i for i in range(sae.num_features) if get_feature(sae, i).rare)
    text = pages.get(f"/tiny/1-relu-64/{rare}").text
    places = [text.index(part) for part in ('class="notice"', 'class="card statistics"', 'id="examples"')]
    assert places == sorted(places)
    assert places[-1] < text.index('class="card not-measured"')


def test_copies_of_an_example_are_told(pages, sae):
    answer = pages.get(f"/tiny/1-relu-64/{COPIED}")
    assert [e.repeats for e in answer.context["examples"].groups[0].examples][:2] == [COPIES, 0]
    assert answer.text.count("like it</span>") == 1
    assert f"and {COPIES} like it</span>" in answer.text
    assert answer.context["examples"].about.endswith("Copies of a passage are shown once, with their number.")
    api = pages.get(f"/api/v1/features/tiny/1-relu-64/{COPIED}/examples").json()
    assert [example["repeats"] for example in api][:2] == [COPIES, 0]
    feature = get_feature(sae, COPIED)
    few = replace(feature, num_examples=feature.num_examples | {"top": 12})
    assert missing_examples(sae, few, "top") == (
        "12 instead of 20: places with the same words around them are shown once."
    )


def test_parts_of_long_documents_are_told(sae, monkeypatch):
    assert about(sae, "top").endswith("one example per document.")
    monkeypatch.setitem(sae.run.record.corpus["tokenize"], "num_cut_documents", 6)
    assert about(sae, "top").endswith("one example per document, or per part of a long one.")


def test_context_is_a_query_that_links_keep(pages):
    answer = pages.get(FEATURE + "?kind=bottom&context=16")
    assert [link.current for link in answer.context["examples"].contexts] == [True, False, False]
    assert all("context=16" in tab.href for tab in answer.context["examples"].tabs)
    assert answer.context["examples"].next_context == FEATURE + "?kind=bottom#examples"
    # A whole document is opened where the token that counts stands.
    assert answer.context["examples"].contexts[2].href == FEATURE + "?kind=bottom&context=full#at"
    assert 'id="at"' in pages.get(FEATURE + "?kind=bottom&context=full").text
    assert pages.get(FEATURE + "?context=17").status_code == 422


def stored_document(sae: OpenSAE, number: int, page: int | None = None) -> WholeDocument | None:
    """The document of a top example of feature 3, with what is stored."""
    found = find_page(sae, get_feature(sae, 3), "top", number, page)
    return whole_document(sae, found) if found else None


def test_a_whole_document_shows_what_is_stored_and_no_more(sae, published_store):
    """Against the artifacts: every example of the feature in the document, and nothing between."""
    corpus = TokenizedCorpus(published_store.run("fake").stage("tokenize"))
    feature = get_feature(sae, 3)
    found = [e for kind in EXAMPLE_KINDS for e in get_examples(sae, feature, kind)]
    for number, example in enumerate(get_examples(sae, feature, "top")):
        document = stored_document(sae, number)
        assert document.position == example.position
        ids = {str(i): row for row, i in enumerate(corpus.document_ids.tolist())}
        values: dict[int, float] = {}
        for other in (e for e in found if e.document_id == example.document_id):
            values |= {other.start + i: token.value for i, token in enumerate(other.tokens)}
        shown: dict[int, float] = {}
        position = document.start
        for stretch in document.stretches:
            shown |= {position + i: token.value for i, token in enumerate(stretch.tokens)}
            position += stretch.num_tokens
        assert shown == values
        assert document.num_known == len(values)
        assert position == document.num_tokens
        assert len(ids) == len(corpus.documents)


def test_a_long_document_is_cut_into_pages(sae, monkeypatch):
    monkeypatch.setattr("backend.published.documents.PAGE_TOKENS", 50)
    feature = get_feature(sae, 3)
    example = get_examples(sae, feature, "top")[0]
    first = stored_document(sae, 0)
    assert first.page == example.position // 50 + 1
    pages = [stored_document(sae, 0, page) for page in range(1, first.num_pages + 1)]
    assert sum(page.num_shown for page in pages) == first.num_tokens
    assert all(page.num_shown == 50 for page in pages[:-1])
    assert sum(stretch.holds_example for page in pages for stretch in page.stretches) == 1
    assert stored_document(sae, 0, first.num_pages + 1) is None


@pytest.mark.parametrize("page_tokens", [50, 64, 1024])
def test_with_the_model_a_document_has_the_values_of_all_its_tokens(published_store, monkeypatch, page_tokens):
    """Against the SAE's own reading of the whole document, in the pieces of the harvest."""
    monkeypatch.setattr("backend.published.documents.PAGE_TOKENS", page_tokens)
    with TestClient(app_with_contexts(Settings(store=published_store.root))) as client:
        sae = client.app.state.library.catalogue().saes["tiny", "1-relu-64"]
        feature = get_feature(sae, 3)
        page = client.get(FEATURE + "?context=full")
        document = page.context["examples"].document
        shown = [token.value for stretch in document.stretches for token in stretch.tokens]
        expected = dense_values(sae, find_page(sae, feature, "top", 0, 1).record)[document.start :][:page_tokens]
        np.testing.assert_allclose(shown, expected, rtol=1e-3, atol=1e-4)
        assert document.num_known == document.num_shown == len(shown)
        assert document.num_active == sum(value > 0 for value in shown)
        assert sum(stretch.holds_example for stretch in document.stretches) == 1
        assert page.context["examples"].unread == ""
        assert f"active on {document.num_active}" in page.text


def dense_values(sae: OpenSAE, record: dict[str, Any]) -> np.ndarray:
    """Activations of feature 3 on every token of a document, by the model and the SAE themselves."""
    piece = sae.run.record.recipe["tokenize"]["context_length"] - 1
    tokens = sae.run.tables.windows_from([record["first_chunk"]], [0], [record["num_tokens"]])[0]
    model = LanguageModel.load(sae.run.folder.parents[2] / "models" / "tiny", layer=1, dtype="float32")
    weights, values = SAE.load(sae.folder), []
    for start in range(0, len(tokens), piece):
        x_LD = model.residuals(torch.tensor([[0, *tokens[start : start + piece]]]))[0]
        values += weights.encode(x_LD)[1:, 3].tolist()
    return np.array(values)


def test_pieces_of_a_page_cover_it_and_begin_where_the_harvest_began(sae, monkeypatch):
    monkeypatch.setattr("backend.published.documents.PAGE_TOKENS", 50)
    context_length = sae.run.record.recipe["tokenize"]["context_length"]
    for page in range(1, stored_document(sae, 0).num_pages + 1):
        found = find_page(sae, get_feature(sae, 3), "top", 0, page)
        pieces = sequences_of(sae, found)
        assert all(tokens[0] == 0 and len(tokens) <= context_length for _, tokens in pieces)
        assert pieces[0][0] == 1 + found.start % (context_length - 1)
        assert [token for skipped, tokens in pieces for token in tokens[skipped:]] == found.tokens


def test_a_document_that_the_model_cannot_read_now_shows_what_is_stored(published_store, monkeypatch):
    def busy(job: object) -> None:
        raise BusyError("the queue is full (16 requests): try again in a few seconds")

    with TestClient(app_with_contexts(Settings(store=published_store.root))) as client:
        monkeypatch.setattr(client.app.state.engine.worker, "submit", busy)
        page = client.get(FEATURE + "?context=full")
        assert page.status_code == 200
        assert "try again in a few seconds" in page.text
        assert 0 < page.context["examples"].document.num_known < page.context["examples"].document.num_shown


def test_a_model_that_is_too_slow_leaves_what_is_stored(published_store, monkeypatch):
    monkeypatch.setattr("backend.features.document.READ_SECONDS", 0)
    with TestClient(app_with_contexts(Settings(store=published_store.root))) as client:
        page = client.get(FEATURE + "?context=full")
        assert (page.status_code, "Reload the page" in page.text) == (200, True)
        assert page.context["examples"].document.num_known < page.context["examples"].document.num_shown


def test_an_example_or_page_that_is_not_there(pages):
    assert PAGE_TOKENS > 700
    for query in ("?context=full&example=999", "?context=full&page=2"):
        assert pages.get(FEATURE + query).status_code == 404
    assert pages.get(f"/tiny/1-relu-64/{DEAD}?context=full").status_code == 200


def test_links_of_a_document_are_only_those_of_the_web(pages):
    html = pages.get(FEATURE + "?context=full").text
    assert "javascript:" not in html
    assert "tokens shown" in html


def test_a_hostile_document_is_shown_literally(pages):
    for number in range(8):
        page = Page(pages.get(f"/tiny/1-relu-256/0?context=full&example={number}").text)
        assert not {"\x00", "\u202e", "\u200f", "\x1b"} & set(page.text)
        assert all(
            (a.get("src") or "").startswith("/static/")
            for tag, a in page.elements
            if tag == "script" and a.get("type") != "application/json"
        )


def test_others_may_embed_a_feature_but_no_other_page(client):
    answer = client.get(FEATURE + "?embed=1")
    assert answer.headers["content-security-policy"] == EMBEDDED
    assert "frame-ancestors *" in EMBEDDED
    assert "frame-ancestors 'self'" in client.get(FEATURE).headers["content-security-policy"]
    page = Page(answer.text)
    assert "script" not in {tag for tag, _ in page.elements}
    links = [a for tag, a in page.elements if tag == "a"]
    assert links
    assert all(a["target"] == "_blank" for a in links)
    assert {a["href"] for a in links} == {FEATURE}


def test_the_embed_html_names_this_server_and_is_escaped(client):
    html = client.get(FEATURE, headers={"host": 'evil"><script>x</script>'}).text
    assert "<script>x" not in html
    html = client.get(FEATURE).text
    snippet = embed_html("http://testserver" + FEATURE).replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
    assert snippet in html


def test_a_dead_feature_embeds_too(client):
    assert "active on 0 of" in client.get(f"/tiny/1-relu-64/{DEAD}?embed=1").text


def test_precision_and_recall_of_a_label_are_told_with_what_they_mean(pages):
    answer = pages.get(FEATURE)
    feature = answer.context["feature"]
    right, covers = feature.label_precision, feature.label_recall
    assert (
        f"right on {right:.0%} of the tokens it names, which hold {covers:.0%} of the feature’s activation"
        in answer.text
    )
    assert "it names 40 tokens there" in answer.text
    assert answer.context["fit"].rule.startswith("As a rule: the word is ")
    assert [covered for _, covered in answer.context["fit"].levels] == ["50%", "60%", "70%", "80%", "–"]


def test_near_features_are_those_of_the_api(pages, client):
    shown = pages.get(FEATURE).context["near"].groups
    told = client.get(f"/api/v1/features{FEATURE}/neighbours?k=6").json()
    assert [[near.index for near in group.nearest] for group in shown] == [
        [near["feature"]["index"] for near in group["nearest"]] for group in told
    ]
    assert [near.title for near in shown[0].nearest] == [n["feature"]["label"] for n in told[0]["nearest"]]


def test_the_small_map_keeps_both_axes_on_one_scale():
    here = Place(0.0, 0.0, 0, "here", "/here")
    drawn = small_map(here, [Place(10.0, 0.0, 1, "east", "/e"), Place(0.0, 2.0, 2, "north", "/n")])
    east, north = drawn.others
    assert east.x - drawn.centre.x == pytest.approx(5 * (drawn.centre.y - north.y), rel=0.01)
    assert all(
        MAP_MARGIN <= dot.x <= MAP_WIDTH - MAP_MARGIN and MAP_MARGIN <= dot.y <= MAP_HEIGHT - MAP_MARGIN
        for dot in drawn.others
    )
    alone = small_map(here, [])
    assert (alone.centre.x, alone.centre.y) == (MAP_WIDTH / 2, MAP_HEIGHT / 2)


def test_dots_of_the_small_map_lead_to_their_features(client):
    html = client.get(FEATURE).text
    drawing = html[html.index('<svg class="small-map"') :].split("</svg>")[0]
    dots = set(re.findall(r'<a href="([^"]+)"', drawing))
    tabled = set(re.findall(r'<a class="label" href="([^"]+)"', html))
    dead = {href for href in tabled if client.get(href + ".json").json()["num_active"] == 0}
    assert dots == tabled - dead
    assert "<svg onload" not in client.get(f"/tiny/1-relu-64/{MARKED}").text


def test_tokens_are_escaped_and_carry_their_value():
    tokens = [TokenView("<b>", "", 0.0, -1), TokenView('"&', "", 1234.56, 11, True), TokenView("↵", "newline", 0.0, -1)]
    assert tokens_html(tokens) == (
        '<span>&lt;b&gt;</span><span class="a11 centre" title="1,235">&#34;&amp;</span>'
        '<span class="newline" title="line break">↵</span>'
    )


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("plain", "ltr"),
        ("", "ltr"),
        ("שלום עולם and", "rtl"),
        ("דe Greek word", "ltr"),
        ("日本", "ltr"),
        ("123 ✓", "ltr"),
    ],
)
def test_a_text_runs_as_most_of_its_letters_do(text, direction):
    assert text_direction(text) == direction
