"""Readings that the run published: the same as the model gives, and there without it."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from backend.published.catalogue import OpenSAE
from backend.published.effects import KnownReading, known_readings
from backend.published.features import Feature, get_feature
from tests.support.fake_run import DEAD, NEGLIGIBLE, RARE


def known(client: TestClient) -> Iterator[tuple[Feature, KnownReading]]:
    """Every feature with each of its published readings."""
    saes: list[OpenSAE] = list(client.app.state.library.catalogue().saes.values())
    for sae in (one for one in saes if one.model == "tiny"):
        for index in range(sae.num_features):
            feature = get_feature(sae, index)
            for reading in known_readings(sae.run, feature.first_reading, feature.num_readings):
                yield feature, reading


def address(feature: Feature, reading: KnownReading, name: str) -> str:
    return f"{feature.href}/example?kind=top&rank={reading.rank}&reading={name}"


def test_what_changed_is_shown_without_the_model(pages: TestClient) -> None:
    feature, reading = next((f, r) for f, r in known(pages) if r.measured and not r.causes)
    page = pages.get(address(feature, reading, "effects"))
    assert page.status_code == 200
    effects = page.context["effects"]
    assert (page.context["off"], effects.coloured, page.context["coloured_href"]) == ("", False, "")
    assert all(token.value is None for token in effects.tokens)
    assert effects.raised
    assert all(one.change > 0 for one in effects.raised)
    assert all(one.change < 0 for one in effects.lowered)
    assert "The model is not available" not in page.text
    causes = pages.get(address(feature, reading, "causes"))
    assert causes.context["causes"] is None
    assert "The model is not available" in causes.text


@pytest.mark.parametrize("name", ["causes", "effects"])
def test_coloured_readings_are_those_of_the_model(live: TestClient, pages: TestClient, name: str) -> None:
    coloured = [(f, r) for f, r in known(live) if r.causes]
    assert coloured
    for feature, reading in coloured[:3]:
        stored = pages.get(address(feature, reading, name)).context[name]
        asked = live.get(address(feature, reading, name) + "&live=true").context
        if asked["example"].num_unread:
            continue
        computed = asked[name]
        values, expected = ([t.value for t in found.tokens] for found in (stored, computed))
        assert values == pytest.approx(expected, abs=2e-4)
        assert [t.centre for t in stored.tokens] == [t.centre for t in computed.tokens]
        if name == "causes":
            assert (stored.opening, stored.before) == pytest.approx((computed.opening, computed.before), abs=2e-4)
        else:
            assert stored.kl == pytest.approx(computed.kl, abs=1e-5)
            assert [one.token for one in stored.raised] == [one.token for one in computed.raised]


def test_colours_of_other_examples_are_asked_of_the_model(live: TestClient) -> None:
    feature, reading = next((f, r) for f, r in known(live) if r.measured and not r.causes)
    page = live.get(address(feature, reading, "effects"))
    assert not page.context["effects"].coloured
    coloured = live.get(page.context["coloured_href"])
    assert coloured.context["effects"].coloured
    assert coloured.context["effects"].kl == pytest.approx(page.context["effects"].kl, abs=1e-4)
    found = live.get(f"/api/v1/features{feature.href}/examples/top/{reading.rank}/effects").json()
    assert found["coloured"]


def test_the_api_gives_what_is_published_without_the_model(client: TestClient) -> None:
    feature, reading = next((f, r) for f, r in known(client) if r.measured and not r.causes)
    found = client.get(f"/api/v1/features{feature.href}/examples/top/{reading.rank}/effects").json()
    assert found["raised"]
    assert not found["coloured"]


def test_a_feature_page_leads_with_its_effects_and_their_examples(pages: TestClient) -> None:
    feature, _ = next((f, r) for f, r in known(pages) if r.measured and f.raised)
    page = pages.get(feature.href)
    first, direct = page.text.index("What it changes, measured"), page.text.index("Direct logit effect")
    assert first < page.text.index('aria-label="Statistics"') < direct
    links = [link for one, link in _links(page.context["readings"], feature) if one.measured]
    assert len(links) == feature.num_measured
    assert all(link.replace("&", "&amp;") in page.text for link in links)
    for token in feature.raised:
        assert f"{100 * token.change:+.1f}" in page.text
    assert "what it changed" in page.text, "without the model too"


def _links(readings: dict[int, KnownReading], feature: Feature) -> list[tuple[KnownReading, str]]:
    return [(one, address(feature, one, "effects")) for one in readings.values()]


def test_a_feature_that_was_not_measured_says_why(pages: TestClient) -> None:
    for index, kind in ((RARE, "rare"), (NEGLIGIBLE, "negligible")):
        html = pages.get(f"/tiny/1-relu-64/{index}").text
        why = f"<dt>What it changes</dt><dd>It is {kind}, and effects are measured of live features.</dd>"
        assert why in html[html.index('id="not-measured"') :]
        assert "What it changes, measured" not in html
    assert "What it changes, measured" not in pages.get(f"/tiny/1-relu-64/{DEAD}").text


def test_effects_stand_in_the_api_and_in_downloads(client: TestClient) -> None:
    feature, _ = next((f, r) for f, r in known(client) if r.measured and f.raised)
    found = client.get(f"/api/v1/features{feature.href}").json()
    assert [(one["token"], one["change"]) for one in found["raised"]] == [(t.token, t.change) for t in feature.raised]
    assert found["num_measured"] == feature.num_measured
    listed = client.get(f"/api/v1/features/{feature.model}/{feature.sae}?per_page=200&minor=true").json()["features"]
    assert next(one for one in listed if one["index"] == feature.index)["raised"] == found["raised"]
