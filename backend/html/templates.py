"""Turns a page context into a response.

A template sees the fields of its context and nothing else of the request but what `GLOBALS` names, so that what a page
shows is what its context declares.
"""

import math
import re
from dataclasses import fields
from functools import lru_cache

import jinja2
from fastapi import Request, Response
from starlette.templating import Jinja2Templates

from backend.html.address import query, root_path
from backend.html.assets import FRONTEND, PLOTLY, plotly_style_ids
from backend.html.characters import title_of
from backend.html.curves import curve_html
from backend.html.formats import count, number, points, share, signed, size
from backend.html.page import Page
from backend.html.spans import piece_html, tokens_direction, tokens_html
from backend.html.svg import bars_html, map_html
from data import __version__

ADDRESSES = re.compile(r' (?:href|src|action|formaction|data-(?:api|copy|plotly|steer))="(?=/(?!/))')
"""Attributes that hold addresses, where these begin at the app's own root."""


def render(
    request: Request, template: str, context: Page, status_code: int = 200, more: dict[str, str] | None = None
) -> Response:
    """The page `template` with every field of `context`, under the policy that the context asks for.

    more: further headers.
    """
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    values |= {
        "asset": request.app.state.assets.url,
        "plotly": PLOTLY,
        "plotly_style_ids": plotly_style_ids,
        "path": request.url.path,
        "root": root_path.get(),
    }
    headers = {"content-security-policy": context.policy, "cache-control": "no-cache", **(more or {})}
    response = _templates().TemplateResponse(request, template, values, status_code, headers)
    if root := root_path.get():
        response.body = below(root, bytes(response.body).decode()).encode()
        response.headers["content-length"] = str(len(response.body))
    return response


def below(root: str, html: str) -> str:
    """A page whose addresses lie below a root."""
    return ADDRESSES.sub(lambda found: found[0] + root, html)


@lru_cache(1)
def _templates() -> Jinja2Templates:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FRONTEND / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "count": count,
        "share": share,
        "signed": signed,
        "points": points,
        "log10": math.log10,
        "size": size,
    }
    environment.globals |= {
        "query": query,
        "tokens_html": tokens_html,
        "piece_html": piece_html,
        "title_of": title_of,
        "tokens_direction": tokens_direction,
        "bars_html": bars_html,
        "map_html": map_html,
        "curve_html": curve_html,
        "version": __version__,
    }
    return Jinja2Templates(env=environment)
