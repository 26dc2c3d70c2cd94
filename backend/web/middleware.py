"""Middleware for every request: what is refused before any endpoint sees it (an unknown host, another site, a body that
is too large), the headers that every response has, and HEAD.

The visitor's cookie gives no rights (backend/web/clients.py), but an owner's does (backend/web/owners.py), and another
site could make any browser write to a server that only its user can reach. Browsers say where a request comes from: by
Sec-Fetch-Site on safe connections, by Origin on all others. Programs say neither, and pass.

A site whose name is made to lead here (DNS rebinding) would be the same origin to a browser, and could read all. So
only localhost, network addresses, which need no name, and the names that the settings trust are answered.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.html.policies import STRICT
from backend.web.problems import answer

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
MAX_BODY = 16 * 2**20
"""Bytes of a request: the largest list as a file, with room."""

CROSS_SITE = "This form was sent from another site. Open the page here and send it again."
UNKNOWN_HOST = (
    "This server does not serve the host '{}'. If it should, its operator can add the name to MONOSEMA_TRUSTED_HOSTS."
)
TOO_LARGE = f"A request may have {MAX_BODY // 2**20} MiB at most: send a smaller one."


class SameOrigin:
    """ASGI middleware: requests that change something must come from our own pages, or from a program."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        changes = scope["type"] == "http" and scope["method"] not in SAFE_METHODS
        if changes and is_cross_site(Headers(scope=scope)):
            await answer(Request(scope), 403, CROSS_SITE)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def is_cross_site(headers: Headers) -> bool:
    """Whether a browser says that another site made the request."""
    if site := headers.get("sec-fetch-site"):
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


class KnownHost:
    """ASGI middleware: the server answers to localhost, to network addresses, and to the trusted names."""

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        """trusted: names with commas between; "*" is any."""
        self.app = app
        self._trusted = {host_name(name.strip()) for name in trusted.split(",") if name.strip()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = Headers(scope=scope).get("host") if scope["type"] == "http" else None
        host = "" if named is None else host_name(named)
        # Every browser sends a Host header; a program without one is not a target of DNS rebinding.
        if named is None or "*" in self._trusted or is_local(host) or host in self._trusted:
            await self.app(scope, receive, send)
        else:
            await answer(Request(scope), 421, UNKNOWN_HOST.format(host))(scope, receive, send)


def host_name(header: str) -> str:
    """The name of a Host header, without its port, in lower case."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return header


def is_local(host: str) -> bool:
    """Whether a host name is localhost or a network address, which no DNS server can redirect."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class BodyLimit:
    """ASGI middleware: no more than MAX_BODY bytes of a request are read, whatever its Content-Length."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdigit() and int(length) > MAX_BODY:
            await answer(Request(scope), 413, TOO_LARGE)(scope, receive, send)
            return
        await self.app(scope, _limited(receive), send)


def _limited(receive: Receive) -> Receive:
    read = 0

    async def receive_some() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MAX_BODY:
            raise HTTPException(413, TOO_LARGE)
        return message

    return receive_some


class SecurityHeaders:
    """ASGI middleware: the strict policy unless a page set its own, and the usual hardening."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", STRICT)
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("referrer-policy", "same-origin")
            await send(message)

        await self.app(scope, receive, send_with_headers)


class HeadAsGet:
    """ASGI middleware: HEAD is answered wherever GET is, with the same status and headers, and without the body.

    What makes the body ends with the first part of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        answered = False

        async def send_headers(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                answered = True
            elif message["type"] != "http.response.body":
                await send(message)
            elif message.get("more_body"):
                raise OSError("the headers are all that was asked for")

        async def receive_until_answered() -> Message:
            return {"type": "http.disconnect"} if answered else await receive()

        try:
            await self.app({**scope, "method": "GET"}, receive_until_answered, send_headers)
        except (OSError, ClientDisconnect):
            if not answered:
                raise
