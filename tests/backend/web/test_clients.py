"""Who asks, and over what."""

import httpx
import pytest
from fastapi.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from backend.web.clients import COOKIE, ClientDep
from data.layout import StorePaths
from tests.support.serving import serving
from tests.support.steering import SECONDS


@pytest.mark.parametrize(
    ("peer", "headers", "trusted", "expected"),
    [
        ("1.1.1.1", [], "", "1.1.1.1"),
        ("1.1.1.1", ["9.9.9.9"], "", "1.1.1.1"),
        ("1.1.1.1", ["9.9.9.9"], "2.2.2.2", "1.1.1.1"),
        ("2.2.2.2", ["9.9.9.9"], "2.2.2.2", "9.9.9.9"),
        ("2.2.2.2", ["8.8.8.8, 9.9.9.9"], "2.2.2.2", "9.9.9.9"),
        ("2.2.2.2", ["8.8.8.8", "9.9.9.9, 3.3.3.3"], "2.2.2.2, 3.3.3.3", "9.9.9.9"),
        ("2.2.2.2", ["3.3.3.3"], " 2.2.2.2 ,3.3.3.3", "3.3.3.3"),
        ("2.2.2.2", [], "2.2.2.2", "2.2.2.2"),
        ("2.2.2.2", [""], "2.2.2.2", "2.2.2.2"),
        ("2.2.2.2", ["9.9.9.9:1234"], "2.2.2.2", "9.9.9.9"),
        ("2.2.2.2", ["9.9.9.9, 3.3.3.3:1234"], "2.2.2.2,3.3.3.3", "9.9.9.9"),
        ("fd00::1", ["2001:db8::9"], "fd00:0::1", "2001:db8::9"),
        ("::1", ["[2001:db8::9]:1234"], "::1", "2001:db8::9"),
        ("10.1.2.3", ["9.9.9.9, 10.4.5.6"], "10.0.0.0/8", "9.9.9.9"),
        ("11.1.2.3", ["9.9.9.9"], "10.0.0.0/8", "11.1.2.3"),
    ],
)
def test_only_a_trusted_proxy_names_the_client(
    published_store: StorePaths, peer: str, headers: list[str], trusted: str, expected: str
) -> None:
    app = create_app(Settings(store=published_store.root, live=False, trusted_proxies=trusted))

    async def who(client: ClientDep) -> str:
        return client.address

    app.router.routes.clear()
    app.add_api_route("/who", who)
    http = TestClient(app, base_url="http://localhost", client=(peer, 50000))
    assert http.get("/who", headers=[("x-forwarded-for", value) for value in headers]).json() == expected


@pytest.mark.parametrize(
    ("trusted", "proto", "secure"),
    [
        ("127.0.0.1", "https", True),
        ("127.0.0.1", "http", False),
        ("127.0.0.1", None, False),
        ("2.2.2.2", "https", False),
        ("", "https", False),
    ],
)
def test_the_cookie_is_secure_where_a_trusted_proxy_was_asked_by_https(
    published_store: StorePaths, trusted: str, proto: str | None, secure: bool
) -> None:
    headers = {} if proto is None else {"x-forwarded-proto": proto}
    with serving(create_app(Settings(store=published_store.root, live=False, trusted_proxies=trusted))) as address:
        cookie = httpx.get(f"{address}/steer", headers=headers, timeout=SECONDS).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert ("Secure" in cookie.split("; ")) == secure
