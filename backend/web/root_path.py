"""The app below a path of a proxy: what comes in loses the path, redirects get it.

Proxies differ: some take the path away from what they pass on, others leave it. Both are understood, and so is whoever
asks the server itself.
"""

from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.html.address import root_path


class RootPath:
    """ASGI middleware: inside of it, paths and redirects begin at the app's own root."""

    def __init__(self, app: ASGIApp, root: str) -> None:
        """root: as in `Settings.root_path`."""
        self.app, self._root, self._decoded = app, root, unquote(root)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._root:
            await self.app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")

        async def send_below(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if location := headers.get("location"):
                    headers["location"] = self._below(location, host)
            await send(message)

        before = root_path.set(self._root)
        try:
            inner = {**scope, "path": self._own_path(scope["path"]), "root_path": self._root}
            await self.app(inner, receive, send_below)
        finally:
            root_path.reset(before)

    def _own_path(self, path: str) -> str:
        if path == self._decoded:
            return "/"
        return path.removeprefix(self._decoded) if path.startswith(self._decoded + "/") else path

    def _below(self, location: str, host: str) -> str:
        """Where a redirect leads: an address of the app lies below the root, all others stay."""
        parts = urlsplit(location)
        own = parts.netloc in ("", host) and parts.path.startswith("/")
        return parts._replace(path=self._root + parts.path).geturl() if own else location


def cookie_path() -> str:
    """The path of cookies: other programs behind the same proxy do not get them."""
    return root_path.get() or "/"
