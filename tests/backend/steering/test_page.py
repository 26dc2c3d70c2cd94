"""The form of steering."""

from html import unescape

import httpx
import pytest

from backend.web.clients import COOKIE
from tests.support.fake_run import DEAD
from tests.support.pages import Page
from tests.support.responses import RULE
from tests.support.steering import (
    FEATURE,
    SECONDS,
    Server,
    form,
)


def test_visitors_get_a_cookie_once(server: Server) -> None:
    first = httpx.get(f"{server.address}/steer", timeout=SECONDS)
    assert first.cookies[COOKIE]
    again = httpx.get(f"{server.address}/steer", cookies=dict(first.cookies), timeout=SECONDS)
    assert COOKIE not in again.cookies


def test_the_form_keeps_what_was_typed_and_says_what_is_wrong(server: Server) -> None:
    page = server.http.post("/steer", data=form(s=["12"], prompt="</textarea><b>river"))
    assert page.status_code == 422
    assert "-10 to 10" in page.text
    assert "&lt;/textarea&gt;&lt;b&gt;river" in page.text
    for strength in ("1e999", "nan", "much"):
        page = server.http.post("/steer", data=form(s=[strength]))
        assert page.status_code == 422
        assert f"&#39;{strength}&#39; is not a strength" in page.text
        assert f'value="{FEATURE}:4"' in page.text
    page = server.http.get("/steer", params={"f": ["http://somewhere:8000/tiny/1-relu-64/3", "tiny/none/1"]})
    assert page.text.count('class="held-one"') == 1
    assert f'value="{FEATURE}:2"' in page.text
    assert "is not the name of a feature" in page.text


def test_an_empty_prompt_stays_empty_and_is_refused(server: Server) -> None:
    page = server.http.post("/steer", data=form(prompt=""))
    assert page.status_code == 422
    assert "The prompt is empty" in page.text
    for text in (page.text, server.http.get("/steer?prompt=").text):
        assert 'spellcheck="false">\n</textarea>' in text


@pytest.mark.parametrize(
    ("field", "typed", "says"),
    [
        ("temperature", "warm", "Temperature is a number from 0 to 2, not “warm”."),
        ("temperature", "3", "Temperature is a number from 0 to 2, not “3”."),
        ("top_p", "0", "Top p is a number above 0, at most 1, not “0”."),
        ("new_tokens", "many", "New tokens is a whole number from 1, not “many”."),
        ("new_tokens", "1000", "At most 24 new tokens"),
        ("seed", "-1", "Seed is a whole number from 0, not “-1”."),
        ("strengths", "1, much", "&#39;much&#39; is not a strength"),
        ("strengths", "1, off", "“off” is none of them"),
    ],
)
def test_every_field_keeps_what_was_typed_when_it_is_refused(server: Server, field: str, typed: str, says: str) -> None:
    page = server.http.post("/steer", data=form(**{field: typed, "sweep": "1", "prompt": "kept"}))
    assert page.status_code == 422
    assert says in page.text
    assert f'name="{field}" value="{typed}"' in page.text
    assert "kept</textarea>" in page.text


def test_a_prompt_of_one_line_break_is_text(server: Server) -> None:
    page = server.http.post("/steer", data=form(prompt="\r\n"))
    assert "The prompt is empty" not in page.text
    assert page.status_code == 303
    assert server.http.post("/api/v1/steer", json=server.body(prompt=" \n")).status_code < 400


def test_removing_a_feature_and_adding_one_keep_what_was_typed(server: Server) -> None:
    typed = form(f=[f"{FEATURE}:4", "tiny/1-relu-64/9:1", "", "tiny/1-relu-64/11:2"], s=["3", "-1.5"], chat="1")
    page = server.http.get("/steer", params={**typed, "without": FEATURE}).text
    assert [f'value="tiny/1-relu-64/{one}"' in page for one in ("3:3", "9:-1.5", "11:2")] == [False, True, True]
    assert "the river</textarea>" in page
    assert 'name="chat" value="1" checked' in page
    assert '<button class="chip" name="f" value="tiny/' in page


def test_a_dead_feature_says_at_once_that_it_cannot_be_steered(server: Server) -> None:
    page = server.http.get(f"/steer?f=tiny/1-relu-64/{DEAD}&f={FEATURE}").text
    assert "never active on the corpus, so it has no strength" in page
    assert 'id="go" disabled>' in page
    assert 'id="go" >' in server.http.get(f"/steer?f={FEATURE}").text


def test_the_page_opens_on_the_best_chat_as_it_is_stored(server: Server) -> None:
    page = server.http.get("/steer").text
    texts = page.partition('id="texts"')[2].partition("</section>\n\n")[0]
    assert 'value="tiny/1-relu-64/7:2"' in page
    assert "Who are you?" in texts
    assert "How can I help?" in texts
    assert "Steered, 2×" in texts
    assert '<span class="new told">river</span>' in texts, "the feature’s own words are marked"
    assert "wide and old" not in texts, "only the text at the strength"
    for strength in ("0.5", "1", "1.5", "2", "3"):
        assert f"%3A{strength}&amp;after=tiny%2F1-relu-64%2F7%3A{strength}&amp;chat=1" in page
    assert 'spellcheck="false">\n</textarea>' in page, "the next message is to be written"
    assert 'name="temperature" value="0"' in page
    assert f"5 features wrote texts while they were held; 3 responded. {RULE}" in page


def test_another_strength_shows_its_stored_text(server: Server) -> None:
    page = server.http.get("/steer?f=tiny/1-relu-64/7:1.5").text
    assert "wide and old." in page.partition('id="state"')[0]
    assert 'name="after" value="tiny/1-relu-64/7:1.5"' in page
    other = server.http.get("/steer?f=tiny/1-relu-64/7:1.25").text
    assert 'id="texts" aria-label="Texts" hidden' in other
    assert "Who are you?</textarea>" in other


def test_plain_texts_are_shown_as_they_are_stored(server: Server) -> None:
    found = unescape(server.http.get("/steer").text)
    assert "/steer?f=tiny%2F1-relu-64%2F7%3A2&prompt=I+am+a" not in found, "a feature is offered once"
    page = server.http.get("/steer?f=tiny/1-relu-64/7:2&prompt=I+am+a&temperature=0&new_tokens=48").text
    assert '<span class="given">I am a</span>' in page
    assert "I am a</textarea>" in page


def test_what_is_stored_is_shown_literally(server: Server) -> None:
    page = server.http.get("/steer?f=tiny/1-relu-64/8:2").text
    assert "&lt;b&gt;music&lt;/b&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>music" not in page
    assert "\u202e" not in page.partition('id="texts"')[2].partition('id="problem"')[0].partition("</section>")[0]


def test_features_are_offered_at_their_best_strength(server: Server) -> None:
    page = server.http.get(f"/steer?f={FEATURE}").text
    assert '<button class="chip" name="f" value="tiny/1-relu-64/7:2"' in page
    assert f'value="{FEATURE}:2"' in page, "the strength of one that has none"
    assert "Who are you?</textarea>" in page


def test_a_conversation_that_is_not_stored_says_so(server: Server) -> None:
    for after in ("0" * 20, "tiny/1-relu-64/7:1.25", "tiny/1-relu-64/7:much", "no/such/feature:1"):
        page = server.http.get("/steer", params={"f": f"{FEATURE}:3", "chat": "1", "after": after, "prompt": "hello"})
        assert "is not stored here: begin a new one" in page.text
        assert "hello</textarea>" in page.text


def test_other_sites_are_told_both_texts(server: Server) -> None:
    page = Page(server.http.get("/steer").text)
    found = {
        one.get("property") or one.get("name"): one["content"]
        for tag, one in page.elements
        if tag == "meta" and "content" in one
    }
    assert "I am the river and the sea." in (found["og:description"] or "")
    assert found["twitter:description"] == found["description"] == found["og:description"]
