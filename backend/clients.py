"""Who asks: a network address, and a visitor of it.

The cookie is a random number that tells people behind one address apart, so that they do not wait for each other. It
gives no right to anything, and whoever throws it away gains nothing: one address has a limit of its own.
"""

import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

COOKIE = "visitor"
COOKIE_SECONDS = 30 * 24 * 3600
LONGEST_COOKIE = 64


@dataclass(frozen=True)
class Client:
    """Somebody who asks for something."""

    address: str
    visitor: str = ""
    """What the cookie says; "" without one."""

    @property
    def name(self) -> str:
        return f"{self.address} {self.visitor}"


def get_client(request: Request) -> Client:
    """Who made a request; behind a trusted proxy, whom that names (see `create_app`)."""
    address = request.client.host if request.client else ""
    return Client(address, request.cookies.get(COOKIE, "")[:LONGEST_COOKIE])


ClientDep = Annotated[Client, Depends(get_client)]


def know_again(request: Request, response: Response) -> Response:
    """Give the cookie to a visitor who has none."""
    if COOKIE not in request.cookies:
        secure = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, secrets.token_urlsafe(16), COOKIE_SECONDS, httponly=True, samesite="lax", secure=secure
        )
    return response
