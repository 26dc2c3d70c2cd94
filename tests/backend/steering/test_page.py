"""The form of steering."""

from html import unescape

import httpx

from backend.web.clients import COOKIE
from tests.support.fake_run import DEAD
from tests.support.responses import RULE
from tests.support.steering import (
    FEATURE,
    Server,
    form,
)


def test_visitors_get_a_cookie_once(server: Server) -> None:
    first = httpx.get(f"{server.address}/steer")
    assert first.cookies[COOKIE]
    again = httpx.get(f"{server.address}/steer", cookies=dict(first.cookies))
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
    for address, prompt in {"/steer": "I am a", "/steer?prompt=": "", page.url: ""}.items():
        text = page.text if address == page.url else server.http.get(address).text
        assert f'spellcheck="false">\n{prompt}</textarea>' in text


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


def test_the_page_offers_what_was_measured_literally(server: Server) -> None:
    page = server.http.get("/steer").text
    assert f"5 features wrote texts while they were held; 3 responded. {RULE}" in page
    assert "I am a river, wide and old." not in page, "only the best text of each"
    assert "I am the river and the sea." in page
    assert "It moved 30% toward the feature’s words." in page
    assert "&lt;b&gt;music&lt;/b&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>music" not in page
    assert "\u202e" not in page.partition("Examples that respond")[2]
    held = "/steer?f=tiny%2F1-relu-64%2F7%3A2&amp;prompt="
    href = f"{held}Who+are+you%3F&amp;chat=1&amp;temperature=0.0"
    assert f'href="{href}"' in page
    assert f'href="{held}I+am+a&amp;temperature=0.0"' in page
    assert "1-relu-64 / 7" in page.partition("Examples that respond")[2]
    assert 'name="temperature" min="0" max="2" step="0.1" value="0"' in server.http.get(unescape(href)).text
