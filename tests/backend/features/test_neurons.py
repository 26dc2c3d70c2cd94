"""The neurons that a feature goes with: on its page, on the SAE's, and in the API, against the artifact of the run."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.html.figures import correlation_bars
from backend.html.formats import share
from backend.published.catalogue import OpenSAE
from backend.published.features import get_feature
from backend.published.neurons import get_neurons
from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus, format_document_id
from data.artifacts.neurons import NEURON_EXAMPLES_FILE, NEURONS_FILE, WEAK_R
from data.layout import StorePaths
from tests.support.fake_run import DEAD, RARE
from tests.support.pages import Page

NAME = "tiny/1-relu-64"


@pytest.fixture
def rows(published_store: StorePaths) -> list[dict[str, Any]]:
    return read_arrow(published_store.run("fake").stage("neurons") / "1-relu-64" / NEURONS_FILE).to_pylist()


@pytest.fixture
def examples(published_store: StorePaths) -> list[dict[str, Any]]:
    return read_arrow(published_store.run("fake").stage("neurons") / NEURON_EXAMPLES_FILE).to_pylist()


def first_with(rows: list[dict[str, Any]], sign: int) -> dict[str, Any]:
    return next(row for row in rows if row["neuron_r"] and sign * row["neuron_r"][0] > 0)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_api_gives_what_the_run_found(
    client: TestClient,
    published_store: StorePaths,
    rows: list[dict[str, Any]],
    examples: list[dict[str, Any]],
    sign: int,
) -> None:
    row = first_with(rows, sign)
    found = client.get(f"/api/v1/features/{NAME}/{row['index']}/neurons").json()
    assert found["why_none"] == ""
    assert found["num_active"] == row["neuron_tokens"] <= found["num_tokens"]
    assert found["num_layers"] == 2
    for name, column in (("layer", "neuron_layer"), ("neuron", "neuron"), ("r", "neuron_r")):
        assert [one[name] for one in found["neurons"]] == row[column]
    first, count = row["first_neuron_example"][0], row["num_neuron_examples"][0]
    corpus = TokenizedCorpus(published_store.run("fake").stage("tokenize"))
    mine = found["neurons"][0]["examples"]
    assert len(mine) == count > 0
    for example, stored in zip(mine, examples[first : first + count], strict=True):
        assert example["document_id"] == format_document_id(stored["document_id"])
        assert sign * example["activation"] > 0
        values = [token["value"] for token in example["tokens"]]
        assert values == [value if sign * value > 0 else 0 for value in stored["values"]]
        centre = next(place for place, token in enumerate(example["tokens"]) if token["centre"])
        assert example["start"] + centre == example["position"] == stored["position"]
        assert max(token["level"] for token in example["tokens"]) == example["tokens"][centre]["level"]
        assert len(values) <= corpus.documents["num_tokens"][stored["document"]].as_py()
    assert mine[0]["tokens"][mine[0]["position"] - mine[0]["start"]]["level"] == 11
    assert all(not one["examples"] for one in found["neurons"][3:])


def test_the_page_names_them_and_folds_their_examples(pages: TestClient, rows: list[dict[str, Any]]) -> None:
    for sign in (1, -1):
        row = first_with(rows, sign)
        answer = pages.get(f"/{NAME}/{row['index']}")
        text = " ".join(Page(answer.text).text.split())
        assert f"layer {row['neuron_layer'][0]}, neuron {row['neuron'][0]}" in text
        assert f"Where this neuron itself is {'highest' if sign > 0 else 'lowest'}:" in text
        weak = row["highest_r"] < WEAK_R
        assert answer.context["neurons"].weak == weak
        assert ("Like no single neuron" in text) == weak
        shown = len(row["first_neuron_example"])
        assert answer.text.count('<ol class="neuron-examples" ') == shown < len(row["neuron"])
        assert f"The first {shown} open to their own examples; of the others none are kept" in text


def test_features_that_were_not_compared_say_why(sae: OpenSAE, pages: TestClient) -> None:
    assert "It is rare" in get_neurons(sae, get_feature(sae, RARE)).why_none
    html = pages.get(f"/{NAME}/{RARE}").text
    assert "<dt>Neurons</dt><dd>It is rare" in html[html.index('id="not-measured"') :]
    assert 'id="neurons"' not in html
    assert 'id="neurons"' not in pages.get(f"/{NAME}/{DEAD}").text


def test_the_sae_page_says_how_many_features_are_like_no_neuron(
    pages: TestClient, sae: OpenSAE, rows: list[dict[str, Any]]
) -> None:
    summary = pages.get(f"/{NAME}").context["neurons"]
    highest = [row["highest_r"] for row in rows if row["highest_r"] is not None]
    counted = sae.record.metrics["neurons"]
    assert counted["num_features"] == len(highest)
    assert counted["num_weak"] == sum(r < WEAK_R for r in highest)
    assert (
        summary.headline == f"{share(counted['num_weak'] / len(highest), 2)} of the features are like no single neuron:"
    )
    listed = pages.get(f"/{NAME}{summary.href}").context["result"].features
    assert [one.highest_r for one in listed] == pytest.approx(sorted(highest, reverse=True)[: len(listed)])


def test_bars_stand_where_their_r_does() -> None:
    bars = correlation_bars([0, 5, 0, 10])
    assert [(bar.x, bar.width, bar.height) for bar in bars.bars] == [(0.25, 0.25, 0.5), (0.75, 0.25, 1.0)]
    assert bars.peak == 10
    assert bars.bars[1].title == "10 features with a highest |r| of 0.75 to 1"
    assert [tick.text for tick in bars.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
