import pytest

from data.artifacts.features import EXAMPLE_KINDS
from data.layout import StorePaths
from data.published.state import open_published
from data.published.tables import PublishedRun
from pipeline.influence import showpieces


def test_showpieces_keep_their_promise(published_store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showpieces, "MAX_DENSITY", 1.0)
    monkeypatch.setattr(showpieces, "MIN_AGREEMENT", 0.2)
    run = open_published(published_store)
    tables = PublishedRun(run.folder)
    pieces = showpieces.find_showpieces(tables, [sae.name for sae in run.record.saes], 5)
    assert pieces
    assert len({piece.word.casefold() for piece in pieces}) == len(pieces)
    for piece in pieces:
        where = f"sae = '{piece.sae}' AND index = {piece.index}"
        columns = ["label", "best_strength", "first_example", "num_examples"]
        feature = tables.list_features(where, columns).to_pylist()[0]
        assert feature["label"] == piece.label != ""
        top = tables.examples(feature["first_example"], feature["num_examples"], EXAMPLE_KINDS.index("top")).to_pylist()
        tokens = [tables.windows([row["document"]], [row["position"]], [1])[0][0] for row in top]
        words = [tables.vocabulary[token].decode("utf-8", "replace").strip() for token in tokens]
        assert words.count(piece.word) / len(words) == piece.agreement
        assert piece.agreement >= 0.2 or feature["best_strength"] is not None
