import math
from dataclasses import replace

import pytest

from backend.published.catalogue import Catalogue
from backend.published.demonstrations import Demonstrations, StoredDemonstration, demonstrations
from data.artifacts.responses import Responses


def test_features_have_the_names_of_the_tables_and_not_those_that_texts_were_stored_with(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = catalogue.runs[0]
    stored = Responses.from_json(run.record.responses)
    chats, openings = (
        tuple(replace(one, label="as it was called before") for one in some) for some in (stored.chats, stored.openings)
    )
    renamed = replace(stored, chats=chats, openings=openings)
    monkeypatch.setattr("backend.published.demonstrations.Responses.from_json", lambda raw: renamed)
    rows = {sae.name: sae.row for sae in run.saes}
    shown = demonstrations(run).all
    assert shown
    for one in shown:
        row = rows[one.feature.sae](one.feature.index)
        assert one.feature.label == run.tables.take("features", [row], ["label"])["label"][0].as_py()
        assert one.feature.title != "as it was called before"


def curved(one: StoredDemonstration, tells: float, peak: float | None, breaks: float | None) -> StoredDemonstration:
    """The same demonstration, its feature with another curve, its texts telling more or less."""
    texts = [replace(text, tells=tells) for text in one.texts]
    best = next(text for text in texts if text.strength == one.best.strength)
    feature = replace(one.feature, peak_strength=peak, break_strength=breaks)
    return replace(one, feature=feature, texts=texts, best=best)


@pytest.mark.parametrize(
    ("curves", "lead"),
    [
        ([(0.9, 0.5, 1.0), (0.3, 1.0, 1.5), (0.5, 1.0, None)], 2),  # the first breaks at all strengths but one
        ([(0.9, None, None), (0.3, 1.0, 1.5), (0.2, 1.0, 1.5)], 1),  # no strength of the first brings it nearer
        ([(0.1, None, None), (0.9, 0.5, 1.0), (0.5, None, 2.0)], 0),  # none holds
        ([(0.4, 1.0, 2.0), (0.4, 1.0, 2.0), (0.4, 1.0, 2.0)], 0),
        ([(0.3, 1.0, 1.5), (0.25, 1.0, 3.0), (0.3, 1.0, 1.5)], 1),  # a little less each, but at more strengths
    ],
)
def test_pages_lead_with_what_holds_at_several_strengths_and_tells_most(
    catalogue: Catalogue, curves: list[tuple[float, float | None, float | None]], lead: int
) -> None:
    chats = demonstrations(catalogue.runs[0]).chats
    chats = [curved(one, *curve) for one, curve in zip(chats, curves, strict=True)]
    assert Demonstrations(chats, [], "").lead == chats[lead]
    assert Demonstrations([], chats, "").lead == chats[lead]


@pytest.mark.parametrize(
    ("moved", "perplexity", "tells"),
    [
        (0.1, 5.0, 0.1 * math.log(1.25)),
        (0.2, 5.0, 0.2 * math.log(1.25)),
        (0.1, 4.0, 0.0),  # the model might have written it by itself
        (0.1, 2.0, 0.0),
        (-0.1, 5.0, 0.0),
        (0.1, 400.0, 0.1 * math.log(1.5)),  # no text tells more for being strange
    ],
)
def test_a_text_tells_that_is_nearer_to_the_feature_and_unlike_the_models_own(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, moved: float, perplexity: float, tells: float
) -> None:
    run = catalogue.runs[0]
    stored = Responses.from_json(run.record.responses)
    chat = stored.chats[0]
    texts = tuple(replace(text, moved=moved, perplexity=perplexity) for text in chat.texts)
    changed = replace(stored, chats=(replace(chat, baseline=replace(chat.baseline, perplexity=4.0), texts=texts),))
    monkeypatch.setattr("backend.published.demonstrations.Responses.from_json", lambda raw: changed)
    (shown,) = demonstrations(run).chats
    assert [text.tells for text in shown.texts] == pytest.approx([tells] * len(texts))
