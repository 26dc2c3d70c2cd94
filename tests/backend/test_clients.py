"""Who asks."""

import pytest

from backend.clients import forwarded_address


@pytest.mark.parametrize(
    ("peer", "headers", "trusted", "expected"),
    [
        ("1.1.1.1", [], "", "1.1.1.1"),
        ("1.1.1.1", ["9.9.9.9"], "", "1.1.1.1"),
        ("1.1.1.1", ["9.9.9.9"], "2.2.2.2", "1.1.1.1"),
        ("2.2.2.2", ["9.9.9.9"], "2.2.2.2", "9.9.9.9"),
        ("2.2.2.2", ["8.8.8.8, 9.9.9.9"], "2.2.2.2", "9.9.9.9"),
        ("2.2.2.2", ["8.8.8.8", "9.9.9.9, 3.3.3.3"], "2.2.2.2, 3.3.3.3", "9.9.9.9"),
        ("2.2.2.2", [], "2.2.2.2", "2.2.2.2"),
    ],
)
def test_only_a_trusted_proxy_names_the_client(peer: str, headers: list[str], trusted: str, expected: str) -> None:
    assert forwarded_address(peer, headers, trusted) == expected
