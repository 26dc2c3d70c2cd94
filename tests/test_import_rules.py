"""The import rules of pyproject.toml: the code keeps them, and each of them notices what it is there for."""

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("data", "pipeline", "backend")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LINT = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command as lint; lint()"

UP = "backend: nothing reaches up"
PIPELINE_UP = "pipeline: nothing reaches up"
DATA_UP = "data: nothing reaches up"
NOUNS = "no two nouns reach into each other, except where listed"
CIRCLES = "no room goes in circles"
ROUTES = "pages and stores know no routes: only the app and other routes import them"
NO_FASTAPI = "what is published, the engine and every store know no FastAPI"
ENGINE = "only the engine runs models"
MODELS = "the models know nothing else of ours, and of other libraries torch's alone"
TRAINER = "the trainer knows no recipe, no stage and nobody who watches"


@dataclass(frozen=True)
class Report:
    """Outcome of a check."""

    passed: bool
    broken: set[str]
    """Names of contracts."""
    text: str


def lint(folder: Path) -> Report:
    """Outcome of `lint-imports` in a folder."""
    command = [sys.executable, "-c", LINT, "--no-cache", "--no-logo"]
    wide = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    broken = {line.partition(" BROKEN")[0].strip() for line in lines if " BROKEN" in line}
    return Report(done.returncode == 0, broken, done.stdout + done.stderr)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the packages and their rules."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("store", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_code_keeps_every_rule() -> None:
    report = lint(ROOT)
    assert report.passed, report.text


@pytest.mark.parametrize(
    ("path", "code", "rule", "told"),
    [
        ("backend/strange.py", "", UP, "backend.strange"),
        ("backend/strange/__init__.py", "", UP, "backend.strange"),
        ("pipeline/strange/__init__.py", "", PIPELINE_UP, "pipeline.strange"),
        ("data/strange.py", "", DATA_UP, "data.strange"),
        ("backend/web/strange.py", "import backend.home.page", UP, "backend.web.strange -> backend.home.page"),
        ("backend/html/strange.py", "import backend.published.cards", UP, "backend.html.strange"),
        ("pipeline/labels/strange.py", "import pipeline.stages.train", PIPELINE_UP, "pipeline.labels.strange"),
        ("data/sql/strange.py", "import data.published.state", DATA_UP, "data.sql.strange"),
        ("backend/home/routes.py", "import backend.map.views", NOUNS, "backend.home.routes -> backend.map.views"),
        ("backend/search/topics.py", "import backend.saes.page", NOUNS, "backend.search.topics -> backend.saes.page"),
        ("backend/html/formats.py", "import backend.html.spans", CIRCLES, "allowed in backend.html"),
        ("backend/map/page.py", "import backend.map.routes", ROUTES, "backend.map.page -> backend.map.routes"),
        ("backend/lists/page.py", "import backend.lists.api", ROUTES, "backend.lists.page -> backend.lists.api"),
        ("backend/published/strange.py", "import fastapi", NO_FASTAPI, "backend.published.strange -> fastapi"),
        ("backend/prompts/store.py", "import starlette", NO_FASTAPI, "backend.prompts.store -> starlette"),
        ("backend/steering/strange.py", "import torch", ENGINE, "backend.steering.strange -> torch"),
        ("backend/home/page.py", "import pipeline.models.sae", ENGINE, "backend.home.page -> pipeline.models.sae"),
        ("pipeline/models/strange.py", "import pipeline.arrays", MODELS, "pipeline.models.strange -> pipeline.arrays"),
        ("pipeline/models/strange.py", "import pydantic", MODELS, "pipeline.models.strange -> pydantic"),
        ("pipeline/training/strange.py", "import rich", TRAINER, "pipeline.training.strange -> rich"),
        ("pipeline/training/topk.py", "import pipeline.recipe", TRAINER, "pipeline.training.topk -> pipeline.recipe"),
    ],
)
def test_what_a_rule_is_there_for_breaks_it(tree: Path, path: str, code: str, rule: str, told: str) -> None:
    file = tree / path
    file.parent.mkdir(exist_ok=True)
    before = file.read_text() if file.exists() else '"""Strange."""\n'
    file.write_text(f"{before}\n{code}\n")
    report = lint(tree)
    assert not report.passed
    assert rule in report.broken
    assert told in report.text


def test_every_module_of_routes_is_told_of() -> None:
    """The rule that only the app imports routes names them one by one where the name of the file has more words."""
    (rule,) = (contract for contract in CONTRACTS if contract["name"] == ROUTES)
    routes = {path for path in (ROOT / "backend").glob("*/*.py") if "APIRouter(" in path.read_text()}
    named = {path for name in rule["protected_modules"] for path in ROOT.glob(name.replace(".", "/") + ".py")}
    below = {path for path in routes if path.parent.name in ("html", "web")}
    assert routes - below == named


def test_the_models_need_no_other_library_than_torch_and_those_around_it() -> None:
    graph = grimp.build_graph("pipeline", include_external_packages=True, cache_dir=None)
    found = {name for module in graph.find_descendants("pipeline.models")
             for name in graph.find_modules_directly_imported_by(module)}  # fmt: skip
    assert {name for name in found if not name.startswith("pipeline.models")} - sys.stdlib_module_names == {
        "numpy",
        "safetensors",
        "sentencepiece",
        "tokenizers",
        "torch",
        "transformers",
    }
