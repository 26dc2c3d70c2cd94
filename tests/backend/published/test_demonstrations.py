from dataclasses import replace

import pytest

from backend.published.catalogue import Catalogue
from backend.published.demonstrations import demonstrations
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
