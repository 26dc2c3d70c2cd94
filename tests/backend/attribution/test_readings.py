"""Further readings of an example: what made a feature fire, and which next tokens it changes."""

import pytest
import torch
from fastapi.testclient import TestClient

from backend.attribution.readings import find_example, signed_step
from backend.published.features import get_feature
from backend.published.selection import Selection, list_features
from data.artifacts.features import EXAMPLE_KINDS
from pipeline.models import attribution
from pipeline.models.language_model import LanguageModel
from tests.support.attribution import ablated_logits, sae_of
from tests.support.fake_run import DEAD


def alive_index(client: TestClient) -> int:
    """A feature with examples of every kind."""
    opened = client.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    return list_features(opened, Selection(sort="density")).features[0].index


def test_causes_are_those_of_finite_differences(live: TestClient, plain: LanguageModel) -> None:
    index, sae = alive_index(live), sae_of(live)
    opened = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    _, example = find_example(opened, index, "top", 2, 120)
    found = live.get(f"/api/v1/features/tiny/1-relu-64/{index}/examples/top/2/causes").json()
    assert found["activation"] == pytest.approx(example.activation, rel=1e-3)
    tokens = torch.tensor([[0, *example.upto]])
    embedding = plain.model.model.embed_tokens(tokens)

    def activation(place: int, factor: float) -> float:
        changed = embedding.clone()
        changed[0, place] *= factor
        x = plain.cut.until(inputs_embeds=changed).x_BLD[0, -1]
        return float(sae.W_enc_FD[index] @ x)

    with torch.no_grad():
        slopes = [(activation(p, 1.01) - activation(p, 0.99)) / 0.02 for p in range(tokens.shape[1])]
    assert found["opening"] == pytest.approx(slopes[0], abs=0.02)
    shown = [token["value"] for token in found["tokens"]]
    begin = 1 + len(example.before)
    assert shown[: example.place + 1] == pytest.approx(slopes[begin:], abs=0.02)
    assert shown[example.place + 1 :] == [None] * (len(shown) - example.place - 1)
    assert found["before"] == pytest.approx(sum(slopes[1:begin]), abs=0.05)
    assert found["scale"] == pytest.approx(max(map(abs, shown[: example.place + 1])))


def test_effects_are_changes_of_log_probabilities(live: TestClient, plain: LanguageModel) -> None:
    index, sae = alive_index(live), sae_of(live)
    opened = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    _, example = find_example(opened, index, "top", 0, 120)
    found = live.get(f"/api/v1/features/tiny/1-relu-64/{index}/examples/top/0/effects").json()
    tokens = [0, *example.all]
    with_it, without = (ablated_logits(plain, sae, f, tokens).log_softmax(1) for f in (None, index))
    change = (with_it - without)[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])]
    shown = [token["value"] for token in found["tokens"]]
    assert shown == pytest.approx(change[len(example.before) :].tolist(), abs=2e-4)
    place = 1 + len(example.before) + example.place
    without = ablated_logits(plain, sae, index, tokens, slice(place, place + 1)).log_softmax(1)
    assert found["kl"] == pytest.approx(float((with_it.exp() * (with_it - without)).sum(1)[place]), abs=1e-5)
    for one in [*found["raised"], *found["lowered"]]:
        assert one["probability"] == pytest.approx(float(with_it[place, one["token"]].exp()), abs=1e-4)
        assert one["without"] == pytest.approx(float(without[place, one["token"]].exp()), abs=1e-4)
    assert [one["change"] for one in found["raised"]] == sorted(
        (one["change"] for one in found["raised"]), reverse=True
    )
    assert found["raised"][0]["change"] > 0 > found["lowered"][0]["change"]


@pytest.mark.parametrize(("reading", "work"), [("causes", "fire"), ("effects", "changes")])
def test_a_reading_that_is_asked_for_again_is_kept(
    live: TestClient, monkeypatch: pytest.MonkeyPatch, reading: str, work: str
) -> None:
    computed, compute = [], getattr(attribution, work)

    def counted(*arguments: object) -> object:
        computed.append(arguments)
        return compute(*arguments)

    monkeypatch.setattr(attribution, work, counted)

    def read(rank: int) -> object:
        parameters = {"kind": "top", "rank": rank, "reading": reading, "live": True}
        return live.get(f"/tiny/1-relu-64/{alive_index(live)}/example", params=parameters).context[reading]

    first, other = read(1), read(3)
    assert len(computed) == 2
    assert (read(1), read(3)) == (first, other)
    assert len(computed) == 2
    assert first != other


def test_a_long_sequence_is_read_from_the_end_and_that_is_said(live: TestClient) -> None:
    opened = live.app.state.library.catalogue().saes["tiny", "1-relu-64"]
    for index in range(64):
        feature = get_feature(opened, index)
        for rank in range(feature.num_examples["top"]):
            _, whole = find_example(opened, feature.index, "top", rank, 120)
            if whole.before:
                least = len(whole.stretch) + 2
                _, cut = find_example(opened, feature.index, "top", rank, least)
                assert len(cut.all) + 1 == least
                assert cut.all == whole.all[-len(cut.all) :]
                assert cut.num_unread == len(whole.all) - len(cut.all)
                assert (cut.stretch, cut.place, whole.num_unread) == (whole.stretch, whole.place, 0)
                return
    pytest.fail("no example lies within its sequence")


@pytest.mark.parametrize("reading", ["causes", "effects"])
@pytest.mark.parametrize("kind", EXAMPLE_KINDS)
def test_every_kind_of_example_has_its_page(live: TestClient, reading: str, kind: str) -> None:
    index = alive_index(live)
    page = live.get(f"/tiny/1-relu-64/{index}/example", params={"kind": kind, "reading": reading})
    context = page.context
    if page.status_code == 422:  # lowest by pre-activation: the feature is silent there
        assert (kind, reading) == ("contrast", "causes")
        assert "inactive" in context["problem"]
        assert context["problem"] in page.text
        return
    assert page.status_code == 200
    found = context[reading]
    assert [t.text for t in found.tokens if t.centre] == [found.tokens[context["example"].place].text]
    assert "<script>alert" not in page.text
    assert [link.current for link in context["readings"]] == [reading == "causes", reading == "effects"]


@pytest.mark.parametrize("rank", ["20", "-1", "x"])
def test_an_example_that_is_not_there_is_said(live: TestClient, rank: str) -> None:
    answer = live.get(f"/api/v1/features/tiny/1-relu-64/{DEAD}/examples/top/{rank}/causes")
    assert answer.status_code == (404 if rank == "20" else 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_without_a_model_the_page_says_why(pages: TestClient) -> None:
    page = pages.get("/tiny/1-relu-64/3/example")
    assert page.status_code == 200
    assert page.context["off"] in page.text.replace("&#39;", "'")


@pytest.mark.parametrize(("value", "step"), [(2, 6), (-2, -6), (0, 0), (1, 3), (-0.9, -3), (0.1, 0), (9, 6)])
def test_steps_of_colour_have_a_sign(value: float, step: int) -> None:
    assert signed_step(value, 2.0) == step
    assert signed_step(value, 0.0) == 0
