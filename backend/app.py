"""The server: `create_app` puts the rooms together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from backend import assets, errors
from backend.catalogue import Library
from backend.engine import Engine
from backend.guards import BodyLimit, KnownHost, SameOrigin
from backend.list_store import ListStore
from backend.routes import (
    attribution,
    compare,
    downloads,
    examples,
    feature_pages,
    features,
    health,
    list_api,
    lists,
    maps,
    pages,
    prompt_search,
    prompts,
    results,
    runs,
    saes,
    search,
    steer,
    try_text,
)
from backend.security import SecurityHeaders
from backend.settings import Settings
from backend.steering_results import Results
from backend.steering_runs import Runs
from backend.stored_prompts import StoredPrompts
from backend.turns import Turns
from data import __version__
from data.sql import connect

OPENAPI = "/api/v1/openapi.json"
COMPRESSION_LEVEL = 4
"""Of answers made on the spot: 9 would take longer than making most pages."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app. It opens the database when it starts and closes it when it stops."""
    app = FastAPI(
        title="Monosema",
        version=__version__,
        openapi_url=OPENAPI,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.settings = settings or Settings()
    app.state.assets = assets.Assets()
    errors.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(SameOrigin)
    app.add_middleware(KnownHost, trusted=app.state.settings.trusted_hosts)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=COMPRESSION_LEVEL)
    app.add_middleware(SecurityHeaders)
    # Here and not in uvicorn's own configuration, so that it holds however the app is served.
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=app.state.settings.trusted_proxies)
    # Before the search by words, which takes every other search.
    app.include_router(prompt_search.pages)
    reading = (health, assets, saes, downloads, features, examples, maps, compare, list_api, lists, search)
    for module in (*reading, prompts, prompt_search, attribution, steer, runs, results, try_text):
        app.include_router(module.router)
    # Last, for they take what is left of /api, and any two or three words.
    app.include_router(pages.router)
    app.include_router(examples.pages)
    app.include_router(feature_pages.pages)
    app.include_router(saes.pages)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    engine = connect(settings.sql_url)
    app.state.library = Library(engine, settings.paths)
    app.state.lists = ListStore(engine, settings.max_lists)
    app.state.turns = Turns(settings.live_per_address)
    app.state.prompts = StoredPrompts(engine, settings.max_stored_prompts)
    app.state.engine = Engine(settings)
    app.state.results = Results(engine, settings.max_results)
    app.state.runs = Runs(app.state.engine, app.state.results, settings)
    yield
    await app.state.runs.stop()
    app.state.engine.stop()
    engine.dispose()
