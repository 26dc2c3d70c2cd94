"""Owners of the server: who opened its owner link has a signed cookie, and may correct labels and write notes.

Everybody else sees what they wrote. The cookie says nothing but when it was given; requests that change something are
refused when another site makes them (backend/web/middleware.py).
"""

import hmac
import time
from hashlib import sha256
from typing import Annotated, cast

from fastapi import Depends, Request, Response

from backend.exceptions import ForbiddenError
from backend.web.root_path import cookie_path

COOKIE = "owner"
COOKIE_SECONDS = 180 * 24 * 3600
NOT_AN_OWNER = (
    "Only owners of this server may do this: open the owner link that it prints when it starts, then try again."
)
WRONG_KEY = "This is not the owner link of this server: it prints the right one when it starts."


def is_owner(request: Request) -> bool:
    """Whether the request comes from an owner."""
    given, _, signature = request.cookies.get(COOKIE, "").partition(".")
    if not (given.isascii() and given.isdigit() and len(given) < 12):
        return False
    fresh = 0 <= time.time() - int(given) < COOKIE_SECONDS
    return fresh and hmac.compare_digest(signature.encode(), _sign(request, given).encode())


OwnerDep = Annotated[bool, Depends(is_owner)]


def require_owner(request: Request) -> None:
    """Raise ForbiddenError unless the request comes from an owner."""
    if not is_owner(request):
        raise ForbiddenError(NOT_AN_OWNER)


def check_key(request: Request, key: str) -> None:
    """Raise ForbiddenError unless this is the key of the server's owners."""
    if not hmac.compare_digest(key.encode(), _key(request).encode()):
        raise ForbiddenError(WRONG_KEY)


def set_owner_cookie(request: Request, response: Response) -> Response:
    """Make the browser that gets this response an owner's."""
    given = str(int(time.time()))
    secure = request.url.scheme == "https"
    value = f"{given}.{_sign(request, given)}"
    response.set_cookie(COOKIE, value, COOKIE_SECONDS, path=cookie_path(), httponly=True, samesite="lax", secure=secure)
    return response


def forget_owner(response: Response) -> Response:
    """Make the browser that gets this response anybody's."""
    response.delete_cookie(COOKIE, path=cookie_path(), httponly=True, samesite="lax")
    return response


def _key(request: Request) -> str:
    return cast(str, request.app.state.owner_key)


def _sign(request: Request, given: str) -> str:
    return hmac.new(_key(request).encode(), f"owner {given}".encode(), sha256).hexdigest()
