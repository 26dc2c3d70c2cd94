"""What other stages read of the responses."""

import json
from pathlib import Path

from data.artifacts.responses import RESPONSES_FILE, read_best_strengths, read_shown_features
from tests.support.responses import make_responses


def test_shown_features_come_by_sae_in_the_order_of_pages_each_once(tmp_path: Path) -> None:
    one, other = make_responses("a", "x", first=7), make_responses("b", "x", first=3)
    shown = {**one.as_json(), "chats": [*other.as_json()["chats"][:1], *one.as_json()["chats"]]}
    found = {"shown": shown, "best_strengths": {"a": {"7": 2.0, "40": 1.0}}, "measured": []}
    (tmp_path / RESPONSES_FILE).write_text(json.dumps(found))
    assert read_shown_features(tmp_path) == {"b": [3], "a": [7, 8, 9]}
    assert read_best_strengths(tmp_path) == {"a": {7: 2.0, 40: 1.0}}
