"""Features are live, rare, negligible or dead, as docs/method.md defines it: no page has another word for one."""

import re

import pytest

from tests.support.pages import Page


@pytest.mark.parametrize(
    "address",
    ["/", "/tiny/1-relu-64", "/tiny/1-relu-64?alive=true", "/search?q=the", "/search?q=zzzz", "/completeness"],
)
def test_no_page_calls_a_feature_alive(pages, address) -> None:
    answer = pages.get(address)
    assert not re.search(r"\balive\b", Page(answer.text).text, re.IGNORECASE)
    for text in re.findall(r'(?:title|aria-label|placeholder)="([^"]*)"', answer.text):
        assert not re.search(r"\balive\b", text, re.IGNORECASE)
