"""How features of an SAE do when they are held, on its page."""

from types import SimpleNamespace

import pytest

from backend.saes.strengths import ENOUGH, strength_summary


@pytest.mark.parametrize(("drawn", "warns"), [(2, True), (ENOUGH - 1, True), (ENOUGH, False)])
def test_few_features_are_said_to_be_too_few(drawn: int, warns: bool) -> None:
    found = {"a": {"num_random": drawn, "num_moved": 1, "median_break": None}}
    run = SimpleNamespace(record=SimpleNamespace(corpus={"strengths": {"saes": found}}))
    summary = strength_summary(SimpleNamespace(name="a", run=run))
    assert summary is not None
    assert ("too few to tell" in summary.headline) is warns
