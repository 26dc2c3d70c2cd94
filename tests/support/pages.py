"""Pages as tests look at them: what a browser would find, and what a template is made of."""

from html.parser import HTMLParser

from fastapi import FastAPI
from jinja2 import meta, nodes
from starlette.middleware.gzip import GZipMiddleware

from backend.app import create_app
from backend.html.assets import FRONTEND
from backend.html.templates import _templates
from backend.settings import Settings

TEMPLATES = FRONTEND / "templates"


class Page(HTMLParser):
    """A page as a browser would find it: elements, links, and the text that is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> set[str]:
        return {a["href"] or "" for tag, a in self.elements if tag == "a" and "href" in a}


def check_nothing_inline(html: str) -> None:
    """A page has no script, style or handler of its own, and loads nothing from elsewhere."""
    for tag, attributes in Page(html).elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        assert tag != "style"
        for name in ("src", "href", "action"):
            address = attributes.get(name) or ""
            assert not (address.startswith(("http", "//", "javascript:", "data:")) and tag != "a"), (tag, address)
        if tag == "script":
            assert "src" in attributes or attributes.get("type") == "application/json"


def app_with_contexts(settings: Settings) -> FastAPI:
    """An app whose answers have `template` and `context`, which GZipMiddleware does not let pass."""
    app = create_app(settings)
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not GZipMiddleware]
    return app


def variables(template: str) -> set[str]:
    """Names that a template takes from its context, with everything that it extends or includes."""
    tree = _templates().env.parse((TEMPLATES / template).read_text())
    others = {node.template.value for node in tree.find_all((nodes.Extends, nodes.Include))}
    return meta.find_undeclared_variables(tree).union(*(variables(other) for other in others))


def value_told(tip: str) -> float:
    """The activation that is told of a token, before what is told of its bytes; 0 where that stands alone."""
    value = tip.partition(":")[0].replace(",", "")
    return float(value) if value[:1].isdigit() else 0.0
