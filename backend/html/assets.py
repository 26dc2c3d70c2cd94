"""Static files under addresses that name their content, so that a browser keeps them for good.

`/static/{digest}/base/monosema.css`: one digest over the whole folder, so that modules import each other by plain
relative paths. Plotly's script comes out of the installed Python package and has its own digest.
"""

import gzip
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import as_file, files
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from backend.exceptions import NotFoundError

FRONTEND = Path(__file__).parents[2] / "frontend"
STATIC = FRONTEND / "static"
PLOTLY = "plotly.min.js"
IMMUTABLE = "public, max-age=31536000, immutable"
COMPRESSIBLE = {".css", ".js", ".svg", ".json", ".txt"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """One static file, ready to send."""

    body: bytes
    media_type: str
    compressible: bool

    @cached_property
    def gzipped(self) -> bytes:
        """Compressed once, as well as gzip can."""
        return gzip.compress(self.body, 9, mtime=0)


class Assets:
    """All static files and their addresses."""

    def __init__(self, folder: Path = STATIC) -> None:
        self._files = {str(p.relative_to(folder)): _load(p) for p in sorted(folder.rglob("*")) if p.is_file()}
        content = hashlib.sha256()
        for name, asset in self._files.items():
            content.update(name.encode() + b"\0" + asset.body)
        self.digest = content.hexdigest()[:12]

    def url(self, name: str) -> str:
        """The address of a file; an AssertionError says that there is none of this name."""
        if name == PLOTLY:
            return f"/static/{plotly_digest()}/{PLOTLY}"
        assert name in self._files, f"there is no static file {name}"
        return f"/static/{self.digest}/{name}"

    def find(self, digest: str, name: str) -> Asset | None:
        """The file at an address, or None when it is unknown or of another state."""
        if name == PLOTLY:
            return plotly() if digest == plotly_digest() else None
        return self._files.get(name) if digest == self.digest else None


@lru_cache(1)
def plotly() -> Asset:
    """Plotly's script, from the installed package."""
    with as_file(files("plotly") / "package_data" / PLOTLY) as path:
        return _load(path)


@lru_cache(1)
def plotly_digest() -> str:
    """Names the content of Plotly's script."""
    return hashlib.sha256(plotly().body).hexdigest()[:12]


@lru_cache(1)
def plotly_style_ids() -> str:
    """Ids under which Plotly's script looks for style sheets (of maps we do not draw) before it adds them inline.

    A page that has elements of these ids keeps them out, so that its policy need not allow them.
    """
    return " ".join(re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly().body.decode()))


def _load(path: Path) -> Asset:
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(path.read_bytes(), media_type, path.suffix in COMPRESSIBLE)


@router.get("/static/{digest}/{name:path}")
def static_file(digest: str, name: str, request: Request) -> Response:
    """One static file, immutable."""
    asset: Asset | None = request.app.state.assets.find(digest, name)
    if asset is None:
        raise NotFoundError("There is no such file. Reload the page that asked for it.")
    headers = {"cache-control": IMMUTABLE, "vary": "accept-encoding"}
    body = asset.body
    if asset.compressible and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["content-encoding"] = asset.gzipped, "gzip"
    return Response(body, media_type=asset.media_type, headers=headers)


@router.get("/favicon.ico")
def favicon(request: Request) -> Response:
    """The icon for clients that ask for the old name."""
    assets: Assets = request.app.state.assets
    return RedirectResponse(assets.url("base/favicon.svg"))
