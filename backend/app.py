"""The server: `create_app` assembles the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from threading import Thread

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import backend.attribution.api
import backend.attribution.example_api
import backend.attribution.routes
import backend.completeness.api
import backend.completeness.routes
import backend.features.api
import backend.features.routes
import backend.features.try_text
import backend.home.routes
import backend.labels.routes
import backend.lists.api
import backend.lists.routes
import backend.map.api
import backend.map.routes
import backend.method.routes
import backend.neurons.api
import backend.neurons.routes
import backend.prompts.api
import backend.prompts.routes
import backend.saes.api
import backend.saes.routes
import backend.scaling.api
import backend.scaling.routes
import backend.search.prompts_api
import backend.search.prompts_routes
import backend.search.words_routes
import backend.splitting.api
import backend.splitting.routes
import backend.steering.api
import backend.steering.routes
import backend.web.docs
import backend.web.health
from backend.completeness.store import ConceptLists
from backend.engine.engine import Engine
from backend.html import assets
from backend.labels.store import LabelStore
from backend.lists.store import ListStore
from backend.prompts.store import StoredPrompts
from backend.published.catalogue import Library
from backend.published.verdicts import VerdictStore
from backend.settings import Settings
from backend.steering.results import Results
from backend.steering.runs import Runs
from backend.web import problems
from backend.web.clients import ClientQuota
from backend.web.middleware import BodyLimit, HeadAsGet, KnownHost, SameOrigin, SecurityHeaders
from backend.web.root_path import RootPath
from data import __version__
from data.sql.database import connect

OPENAPI = "/api/v1/openapi.json"
COMPRESSION_LEVEL = 4
"""Of dynamic responses: 9 would take longer than rendering most pages."""


ROUTERS = (
    # Before the search by words, which matches every other search.
    backend.search.prompts_routes.pages,
    backend.web.health.router,
    assets.router,
    backend.saes.api.router,
    backend.features.api.router,
    backend.attribution.example_api.router,
    backend.map.api.router,
    backend.map.routes.router,
    backend.splitting.api.router,
    backend.splitting.routes.router,
    backend.lists.api.router,
    backend.lists.routes.router,
    backend.search.words_routes.router,
    backend.prompts.api.router,
    backend.prompts.routes.router,
    backend.search.prompts_api.router,
    backend.search.prompts_routes.router,
    backend.attribution.api.router,
    backend.steering.api.router,
    backend.steering.routes.router,
    backend.features.try_text.router,
    backend.labels.routes.router,
    backend.completeness.api.router,
    backend.completeness.routes.router,
    backend.scaling.api.router,
    backend.scaling.routes.router,
    backend.home.routes.router,
    backend.method.routes.router,
    backend.neurons.api.router,
    backend.neurons.routes.router,
    # Last, for they match everything else below /api, and any path of two or three parts.
    backend.web.docs.router,
    backend.attribution.routes.router,
    backend.features.routes.router,
    backend.saes.routes.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the app. It opens the database when it starts and closes it when it stops."""
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
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(SameOrigin)
    app.add_middleware(KnownHost, trusted=app.state.settings.trusted_hosts)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=COMPRESSION_LEVEL)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RootPath, root=app.state.settings.root_path)
    # Here and not in uvicorn's own configuration, so that it holds however the app is served.
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=app.state.settings.trusted_proxies)
    for router in ROUTERS:
        app.include_router(router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    engine = connect(settings.sql_url)
    app.state.library = Library(engine, settings.paths)
    app.state.lists = ListStore(engine, settings.max_lists)
    app.state.labels = LabelStore(engine, settings.max_labels)
    app.state.concept_lists = ConceptLists(engine, settings.max_concept_lists)
    app.state.verdicts = VerdictStore(engine, settings.max_verdicts)
    app.state.owner_key = settings.find_owner_key()
    app.state.quota = ClientQuota(settings.live_per_address)
    app.state.prompts = StoredPrompts(engine, settings.max_stored_prompts)
    app.state.engine = Engine(settings)
    app.state.results = Results(engine, settings.max_results)
    app.state.runs = Runs(app.state.engine, app.state.results, settings)
    # LanceDB is imported in the background: its import takes as long as the rest of the start.
    Thread(target=import_module, args=("data.published.lance",), daemon=True).start()
    yield
    await app.state.runs.stop()
    app.state.engine.stop()
    engine.dispose()
