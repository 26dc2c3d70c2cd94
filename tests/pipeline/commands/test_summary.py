from urllib.parse import quote_plus

import pytest

from data.artifacts.responses import Responses
from data.layout import StorePaths
from data.published.metrics import loss_sample, with_interval
from data.published.state import open_published
from pipeline.commands import summary
from tests.support.fake_run import MODEL_NAME


def test_the_summary_names_every_autoencoder(published_store: StorePaths, capsys: pytest.CaptureFixture[str]) -> None:
    summary.print_summary(published_store, "fake", "http://here")
    shown = capsys.readouterr().out
    assert MODEL_NAME in " ".join(shown.split()), "not the slug of addresses"
    assert all(name in shown for name in ("1-relu-64", "1-relu-256", "1-batchtopk-64"))
    metrics = open_published(published_store).record.saes[0].metrics
    assert with_interval(metrics, "loss_added") in shown
    assert loss_sample(metrics) in shown
    first = Responses.from_json(open_published(published_store).record.responses).chats[0]
    asked = f"f=tiny/{first.sae}/{first.index}:{first.best_strength:g}&prompt={quote_plus(first.opening)}"
    assert f"http://here/steer?{asked}&chat=1&temperature=0&new_tokens={first.new_tokens}" in shown
    assert f"{first.opening} → {first.best.text}" in shown
    assert f"by itself: {first.opening} → {first.baseline.text}" in shown
    assert all(line.isprintable() for line in shown.splitlines()), "what a model writes must not command a terminal"
