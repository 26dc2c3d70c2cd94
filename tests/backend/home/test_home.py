"""The home page: what is there, what is not, and the SAEs of a run side by side."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.engine.engine import Engine
from backend.home import page as home_page
from backend.home.panel import HomeState, panel_of
from backend.html.formats import number, share, size
from backend.published.cards import falling_text, run_card, share_or_none
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.demonstrations import Demonstrations, demonstrations
from backend.published.selection import Selection, list_features
from backend.published.showpieces import showpiece_rows
from backend.settings import Settings
from data.layout import StorePaths
from data.published.metrics import recovered, with_interval
from data.sql.records import PublishedRunRecord, SAERecord
from tests.support.pages import Page


def with_metrics(sae: OpenSAE, **metrics: Any) -> OpenSAE:
    """The same SAE with other metrics."""
    values = {column.name: getattr(sae.record, column.name) for column in SAERecord.__table__.columns}
    return replace(sae, record=SAERecord(**{**values, "metrics": metrics}))


def test_the_comparison_has_the_metrics_of_every_sae(pages, catalogue):
    (comparison,) = pages.get("/").context["comparisons"]
    page = Page(pages.get("/").text)
    titles = [title for title, _ in comparison.headings]
    assert titles == [
        "Features", "Explained variance", "Loss added", "Recovered", "L0", "Dead", "Rare", "Tokens seen",
    ]  # fmt: skip
    for row, sae in zip(comparison.rows, catalogue.runs[0].saes, strict=True):
        metrics = sae.record.metrics
        assert row.sae.name == sae.name
        assert [cell.title for cell in row.cells] == titles
        texts = [cell.text for cell in row.cells]
        assert texts[:5] == [
            f"{sae.num_features:,}",
            share(metrics["explained_variance"]),
            with_interval(metrics, "loss_added"),
            recovered(metrics, "mean"),
            number(metrics["l0"]),
        ]
        assert texts[6] == share_or_none(metrics["num_rare"] / sae.num_features)
        assert texts[7] == f"{sae.record.curve[-1]['tokens']:,}"
        assert all(text in page.text for text in texts)
        assert sae.href in page.links()
    assert f"{metrics['num_ce_tokens']:,} tokens of {metrics['num_ce_documents']} held-out documents" in page.text
    assert comparison.num_features == sum(sae.num_features for sae in catalogue.runs[0].saes)


def test_the_direction_is_read_through_only_where_nothing_is_measured(pages):
    answer = pages.get("/")
    feature = answer.context["worked"].feature
    measured = bool(feature.raised or feature.lowered)
    assert ("<dt>raises</dt>" in answer.text or "<dt>lowers</dt>" in answer.text) is measured
    assert ("read straight through" in answer.text) is not measured


def test_features_of_every_kind_are_counted(client, catalogue):
    for sae, negligible in zip(catalogue.runs[0].saes, (1, 1, 0), strict=True):
        rows = sae.run.tables.take("features", range(sae.row(0), sae.row(sae.num_features))).to_pylist()
        together = sum(row["squared_share"] for row in rows if row["negligible"])
        said = (
            f"{negligible} negligible (together {share(together, 2)} of the squared activation), " if negligible else ""
        )
        counts = f"{sae.num_features - 2 - negligible} live, 1 rare (active on fewer than 10 tokens), {said}1 dead."
        assert counts in Page(client.get(sae.href).text).text
        brief = counts.replace(" (active on fewer than 10 tokens)", "")
        home = Page(client.get("/").text).text
        assert f"{sae.name}: {brief}" in home
        assert home.count("active on fewer than 10 tokens") == 1


def test_saes_that_were_still_learning_are_named(client):
    said = "was still falling after 2,990 steps: more text or more epochs would change"
    assert f"The loss of 1-relu-64, 1-relu-256 and 1-batchtopk-64 {said}" in Page(client.get("/").text).text
    assert f"The loss of 1-relu-256 {said}" in Page(client.get("/tiny/1-relu-256").text).text
    trends = [sae["metrics"]["loss_trend"] for sae in client.get("/api/v1/saes").json()]
    assert all(trend["still_falling"] and trend["num_steps"] == 2990 for trend in trends)


def test_a_sae_that_was_trained_to_its_end_is_not(sae):
    for trend in (None, {"still_falling": False, "num_steps": 9, "fall": 0.0}):
        assert falling_text(with_metrics(sae, loss_trend=trend)) == ""


def test_what_limits_left_of_the_corpus_is_said(client, catalogue):
    record = catalogue.runs[0].record
    values = {column.name: getattr(record, column.name) for column in PublishedRunRecord.__table__.columns}
    counts = {
        **record.corpus["tokenize"], "num_documents": 40, "num_held_out_documents": 1, "num_tokens": 350_000,
        "num_held_out_tokens": 10_000, "limits": ["max_tokens"], "num_corpus_documents": 233,
        "num_corpus_tokens": 2_120_345,
    }  # fmt: skip
    limited = PublishedRunRecord(**{**values, "corpus": {**record.corpus, "tokenize": counts}})
    assert run_card(OpenRun(limited, catalogue.runs[0].folder)).limit == (
        "The run read 41 of 233 documents, drawn at random, 360,000 of about 2.1 million tokens "
        "(limit tokenize.max_tokens)."
    )
    assert run_card(catalogue.runs[0]).limit == ""
    assert "The run read" not in Page(client.get("/").text).text


def test_dots_stand_where_the_axes_say(sae):
    chart = home_page._chart([with_metrics(sae, l0=l0, explained_variance=ev) for l0, ev in ((20, 0.6), (80, 0.8))])
    first, second = chart.dots
    assert first.x < second.x
    assert second.y < first.y  # from the top
    ticks = {tick.text: tick.x for tick in chart.x_ticks}
    assert ticks["20"] == pytest.approx(first.x)
    assert ticks["80"] == pytest.approx(second.x)
    heights = {tick.text: tick.x for tick in chart.y_ticks}
    assert heights["60%"] == pytest.approx(first.y)
    assert heights["80%"] == pytest.approx(second.y)
    assert all(0 <= tick.x <= 1 for tick in (*chart.x_ticks, *chart.y_ticks))


def test_what_was_not_measured_is_a_dash_and_draws_nothing(sae):
    bare = with_metrics(sae)
    assert [
        value(bare)[0] for title, _, value in home_page.COMPARISON_COLUMNS if title in {"L0", "Dead", "Recovered"}
    ] == ["–"] * 3
    assert home_page._chart([bare, bare]) is None
    same = with_metrics(sae, l0=5.0, explained_variance=0.5)
    dots = home_page._chart([same, same]).dots
    assert [(dot.x, dot.y) for dot in dots] == [(pytest.approx(0.5), pytest.approx(0.5))] * 2


@pytest.mark.parametrize(
    ("value", "text", "bar"),
    [
        (0.81, "81.0 ± 1.0%", 0.81),
        (-10.778, "worse than replacing the stream by its mean", None),
        (2.488, "better than the model itself", None),
        (None, "the baseline is no worse than the model", None),
    ],
)
def test_a_recovered_that_is_no_share_is_said_in_words(sae, value, text, bar):
    interval = None if value is None else [value - 0.01, value + 0.01]
    measured = with_metrics(sae, recovered_mean=value, recovered_mean_ci=interval)
    (column,) = [value for title, _, value in home_page.COMPARISON_COLUMNS if title == "Recovered"]
    assert column(measured) == (text, bar)


def test_the_worked_example_is_a_feature_of_this_run_and_the_starts_are_others(pages):
    context = pages.get("/").context
    worked, page = context["worked"], Page(pages.get("/").text)
    assert f"{worked.feature.num_active:,}" in page.text
    assert worked.examples
    for example in worked.examples:
        assert "".join(token.text for token in example.tokens) in page.text
    feature = worked.feature
    measured = [*feature.raised[:6], *feature.lowered[:6]]
    for told in measured or (*feature.promoted[:6], *feature.suppressed[:6]):
        assert told.text in page.text
    pieces = (worked.feature, *context["starts"])
    telling = [(piece.label_score or 0) * max((t.change for t in piece.raised), default=0) for piece in pieces]
    assert telling[0] == max(telling)
    for token in (*worked.feature.raised[:6], *worked.feature.lowered[:6]):
        assert f"{100 * token.change:+.1f}".replace("-", "−") in page.text
    assert worked.feature.href in page.links()
    assert {feature.href for feature in context["starts"]} <= page.links() - {worked.feature.href}


def test_other_showpieces_are_to_begin_with(client, catalogue, sae):
    pieces = list_features(sae, Selection(sort="label_score", per_page=3)).features
    run = replace(catalogue.runs[0], cached={showpiece_rows: [sae.row(piece.index) for piece in pieces]})
    page = home_page.home_page_of(replace(catalogue, runs=(run,)), client.app.state.engine, HomeState())
    assert page.worked.feature.name in {piece.name for piece in pieces}
    assert page.starts == [piece for piece in pieces if piece.name != page.worked.feature.name]


def test_without_the_model_the_home_page_says_so_once(published_store: StorePaths):
    with TestClient(create_app(Settings(store=published_store.root, live=False))) as client:
        assert client.get("/").text.count("MONOSEMA_LIVE=0") == 1
    with TestClient(create_app(Settings(store=published_store.root))) as client:
        assert "are off" not in client.get("/").text


def test_nothing_published_is_designed(tmp_path):
    with TestClient(create_app(Settings(store=tmp_path, live=False))) as client:
        page = Page(client.get("/").text)
    assert "Nothing is published yet" in page.text
    for command in ("make demo", "monosema run --recipe R", "monosema import FILE.tar"):
        assert command in page.text
    assert "/random" not in page.links()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (512, "512 B"), (1180, "1.18 kB"), (18_900_000, "18.9 MB"), (2e12, "2.00 TB")]
)
def test_sizes(value: int, text: str):
    assert size(value) == text


# ---- one question answered twice


def test_home_leads_with_the_best_chat_answered_twice(pages, catalogue):
    answer = pages.get("/")
    panel, page = answer.context["panel"], Page(answer.text)
    assert panel.demo == catalogue.runs[0].once(demonstrations).chats[0]
    for text in ("Who are you?", "How can I help?", "I am the river and the sea."):
        assert text in page.text
    assert panel.shown.strength == 2
    assert panel.shown.href in page.links()
    assert "f=tiny%2F1-relu-64%2F7%3A2&after=tiny%2F1-relu-64%2F7%3A2&chat=1" in panel.shown.href
    assert answer.text.count('<mark class="told">') >= 2
    assert pages.get(panel.shown.href).status_code == 200


def test_the_model_of_the_demonstration_is_made_ready_while_home_is_read(pages, catalogue, monkeypatch):
    asked: list[OpenRun] = []
    monkeypatch.setattr(Engine, "prepare", lambda self, run: asked.append(run))
    pages.get("/")
    assert [run.name for run in asked] == [catalogue.runs[0].name]


def test_each_strength_is_a_link_that_shows_its_text_without_scripts(pages):
    stops = pages.get("/").context["panel"].stops
    assert [stop.stored.strength for stop in stops] == [0.5, 1, 1.5, 2, 3]
    for stop in stops:
        page = pages.get(stop.href)
        shown = page.context["panel"].shown
        assert shown.strength == stop.stored.strength
        assert page.text.count("data-off") == len(stops) - 1
        assert f'aria-current="true">{shown.strength:g}×' in page.text


@pytest.mark.parametrize(
    ("strength", "broken"), [(None, []), (1.5, [1.5, 2, 3]), (0.1, [0.5, 1, 1.5, 2, 3]), (4.0, [])]
)
def test_strengths_at_which_the_text_breaks_are_marked(catalogue, strength, broken):
    run = catalogue.runs[0]
    found = run.once(demonstrations)
    lead = replace(found.lead, feature=replace(found.lead.feature, break_strength=strength))
    known = {demonstrations: Demonstrations([lead], [], found.found)}
    panel = panel_of(replace(catalogue, runs=(replace(run, cached=known),)), HomeState())
    assert panel is not None
    assert [stop.stored.strength for stop in panel.stops if stop.breaks] == broken
    whole = [stop.stored.strength for stop in panel.stops if not stop.breaks]
    assert panel.shown.strength == (2 if 2 in whole or not whole else whole[-1])


def test_other_demonstrations_are_chips_and_stay_in_the_address(pages):
    others = pages.get("/").context["panel"].others
    assert [link.href for link in others] == ["/?demo=tiny%2F1-relu-64%2F8", "/?demo=tiny%2F1-relu-64%2F9"]
    page = pages.get(others[1].href)
    assert page.context["panel"].demo.opening == "Give me some advice."
    assert page.context["panel"].stops[0].href == "/?demo=tiny%2F1-relu-64%2F9&strength=0.5"


def test_a_demonstration_that_is_gone_says_so_and_the_best_is_shown(pages):
    page = pages.get("/?demo=tiny/1-relu-64/3&strength=2")
    assert "That demonstration is not here" in page.text
    assert page.context["panel"].demo.feature.index == 7


def test_without_any_demonstration_home_is_as_it_was(client, catalogue):
    run = replace(catalogue.runs[0], cached={demonstrations: Demonstrations([], [], "There is no model.")})
    page = home_page.home_page_of(replace(catalogue, runs=(run,)), client.app.state.engine, HomeState())
    assert page.panel is None
    assert page.worked is not None


def test_home_leads_on_to_pages_that_have_something_to_tell(pages, catalogue, monkeypatch):
    run = catalogue.runs[0]

    def more(why_none: str, grids: list[Any], saes: list[SAERecord]) -> list[str]:
        for name, value in [("completeness_of", why_none), ("get_comparison", why_none), ("scaling_of", "")]:
            monkeypatch.setattr(home_page, name, lambda run, why=value: SimpleNamespace(why_none=why, grids=grids))
        values = {column.name: getattr(run.record, column.name) for column in PublishedRunRecord.__table__.columns}
        found = home_page.comparison_of(replace(run, record=PublishedRunRecord(**values, saes=saes))).more
        return [link.href.removesuffix(f"?run={run.name}") for link in found]

    assert {link.href for link in pages.get("/").context["comparisons"][0].more} <= Page(pages.get("/").text).links()
    saes = list(run.record.saes)
    assert more("It was not asked for.", [], saes[:1]) == ["/explore"]
    assert more("", [object()], saes) == ["/explore", "/compare", "/completeness", "/neurons", "/scaling"]
