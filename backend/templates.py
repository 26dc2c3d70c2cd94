"""Turns a page context into a response.

A template sees the fields of its context and nothing else of the request but what `GLOBALS` names, so that what a page
shows is what its context declares.
"""

import math
from dataclasses import fields
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

import jinja2
from fastapi import Request, Response
from starlette.templating import Jinja2Templates

from backend.assets import FRONTEND, PLOTLY, plotly_style_ids
from backend.contexts import Page
from data import __version__


def render(request: Request, template: str, context: Page, status_code: int = 200) -> Response:
    """The page `template` with every field of `context`, under the policy that the context asks for."""
    values = {field.name: getattr(context, field.name) for field in fields(context)}
    values |= {
        "asset": request.app.state.assets.url,
        "plotly": PLOTLY,
        "plotly_style_ids": plotly_style_ids,
        "path": request.url.path,
    }
    headers = {"content-security-policy": context.policy, "cache-control": "no-cache"}
    return _templates().TemplateResponse(request, template, values, status_code, headers)


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
        "log10": math.log10,
        "size": size,
    }
    environment.globals |= {"query": query, "version": __version__}
    return Jinja2Templates(env=environment)


def query(**parameters: Any) -> str:
    """`?a=1&b=2` of what is neither None nor empty; "" of nothing."""
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return "?" + urlencode(given) if given else ""


def number(value: float, digits: int = 3) -> str:
    """A measured value with `digits` significant digits: 0.0123, 4.56, 1,234."""
    if not math.isfinite(value):
        return str(value)
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits - 1 - size)}f}" if size >= -4 else f"{value:.{digits - 1}e}"


def signed(value: float, digits: int = 2) -> str:
    """A value with its sign: +1.23, −0.45 (a true minus)."""
    return f"{value:+.{digits}f}".replace("-", "−")


def count(value: int) -> str:
    """A whole number with separators: 12,345."""
    return f"{value:,}"


def size(value: int) -> str:
    """Bytes as people say them: 512 B, 1.18 kB, 18.9 MB."""
    power = 0 if value < 1000 else min(int(math.log10(value) / 3), 4)
    return f"{number(value / 1000**power)} {('B', 'kB', 'MB', 'GB', 'TB')[power]}" if power else f"{value} B"


def share(value: float, digits: int = 3) -> str:
    """A share as a percentage with `digits` significant digits: 0.0123%, 67.4%."""
    return f"{number(100 * value, digits)}%"
