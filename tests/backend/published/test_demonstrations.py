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


def curved(one: StoredDemonstration, fit: float, peak: float | None, breaks: float | None) -> StoredDemonstration:
    """The same demonstration, its feature with another fit and curve."""
    changes = {"label_score": fit, "peak_strength": peak, "break_strength": breaks}
    return replace(one, feature=replace(one.feature, **changes))


@pytest.mark.parametrize(
    ("curves", "lead"),
    [
        ([(0.9, 0.5, 1.0), (0.3, 1.0, 1.5), (0.5, 1.0, None)], 2),  # the first breaks at all strengths but one
        ([(0.9, None, None), (0.3, 1.0, 1.5), (0.2, 1.0, 1.5)], 1),  # no strength of the first brings it nearer
        ([(0.1, None, None), (0.9, 0.5, 1.0), (0.5, None, 2.0)], 0),  # none holds
        ([(0.4, 1.0, 2.0), (0.4, 1.0, 2.0), (0.4, 1.0, 2.0)], 0),
    ],
)
def test_pages_lead_with_what_holds_at_several_strengths_and_is_named_best(
    catalogue: Catalogue, curves: list[tuple[float, float | None, float | None]], lead: int
) -> None:
    chats = demonstrations(catalogue.runs[0]).chats
    chats = [curved(one, *curve) for one, curve in zip(chats, curves, strict=True)]
    assert Demonstrations(chats, [], "").lead == chats[lead]
    assert Demonstrations([], chats, "").lead == chats[lead]
