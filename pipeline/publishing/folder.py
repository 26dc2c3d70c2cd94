"""The published folder of a run: tables, map, weights and the rows of SQL."""

import json
import math
import shutil
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from data import CONTRACT_VERSION, __version__
from data.arrow import read_arrow
from data.artifacts.curve import loss_trend
from data.artifacts.features import CURVE_FILE, METRICS_FILE, STATISTICS_FILE, count_features
from data.artifacts.labels import read_labels
from data.artifacts.responses import RESPONSES_FILE
from data.concepts.indexing import write_token_index
from data.manifests import Manifest, hash_folder, write_manifest
from data.published.lance import index_meanings, index_search
from data.published.maps import MAP_FOLDER, write_map
from data.published.regions import write_regions
from data.published.state import ROWS_FILE, SAES_FOLDER, SQLRows
from data.published.tables import TOKEN_INDEX_FOLDER, PublishedRun, write_table
from pipeline.completeness.occurrences import training_texts
from pipeline.fetching.local import model_folder
from pipeline.fetching.naming import fetched_counts
from pipeline.fetching.vocabulary import model_vocabulary
from pipeline.influence.showpieces import find_showpieces
from pipeline.models.sae import WEIGHTS_FILE, load_header, write_header
from pipeline.progress import log, track
from pipeline.publishing.tables import RunTables
from pipeline.recipe import Recipe
from pipeline.stage import Work

MAX_CURVE_POINTS = 200
NUM_SHOWPIECES = 12
INDEXED_TOKENS = 100_000_000
"""Training tokens at most in which the concepts of people's own lists are counted: 800 MB of what is published."""
COUNTED_STAGES = (
    "fetch",
    "tokenize",
    "harvest",
    "examples",
    "effects",
    "neurons",
    "score",
    "embed",
    "compare",
    "completeness",
    "strengths",
    "scale",
)
"""Stages whose counts are published with the run."""


def write_folder(work: Work, folder: Path) -> None:
    """Make the published folder under a hidden name, then give it its own."""
    partial = folder.with_name(f".{folder.name}.partial")
    for path in (partial, folder):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir(parents=True)
    folders = {name: work.input_folder(name) for name in work.inputs}
    tables = RunTables(
        folders,
        tuple(work.recipe.sae_names),
        model_vocabulary(model_folder(work.inputs["fetch"], work.paths)),
        work.recipe.examples.rare_tokens,
    )
    with ThreadPoolExecutor(1) as beside:  # the search is indexed on another core
        counts, indexing = _write_tables(partial, tables, work.folder, beside)
        if "meanings" in counts and index_meanings(partial):
            log("search by meaning has an approximate index: it can miss what lies far from what was typed")
        counts |= _write_map(partial / MAP_FOLDER, tables)
        _raise_failure(indexing)
        _index_tokens(work, partial / TOKEN_INDEX_FOLDER, tables)
        indexing.result()
    for name in work.recipe.sae_names:
        _copy_sae(work.input_folder("train") / name, partial / SAES_FOLDER / name, work.recipe.model.name)
    rows = _rows(work, tables.first_rows, PublishedRun(partial))
    (partial / ROWS_FILE).write_text(json.dumps(rows, ensure_ascii=False, allow_nan=False) + "\n")
    write_manifest(partial, _manifest(work, partial, counts))
    partial.rename(folder)


def _write_tables(
    folder: Path, tables: RunTables, scratch: Path, beside: Executor
) -> tuple[dict[str, int], Future[None]]:
    """Write all tables, the search first, whose indexes take longest; the rows of each, and those indexes to be."""
    search, others = tables.search(scratch), tables.others()
    counts: dict[str, int] = {}
    with track("publish: search", search.num_rows, "features") as progress:
        counts["search"] = write_table(folder, "search", search.schema, search.batches(progress))
    indexing = beside.submit(index_search, folder)
    with track("publish", sum(table.num_rows for table in others.values()), "rows") as progress:
        for name, table in others.items():
            _raise_failure(indexing)
            counts[name] = write_table(folder, name, table.schema, table.batches(progress))
    return counts, indexing


def _raise_failure(work: Future[None]) -> None:
    """Raise what work beside this has raised, if it has by now."""
    if work.done():
        work.result()


def _write_map(folder: Path, tables: RunTables) -> dict[str, int]:
    """Write the map and the names on it; the number of each."""
    write_map(folder, tables.map.world(), tables.map.num_points, tables.map.points())
    regions = tables.map.regions(tables.telling)
    write_regions(folder, regions)
    return {"map": tables.map.num_points, "regions": len(regions)}


def _index_tokens(work: Work, folder: Path, tables: RunTables) -> None:
    """Index the training documents, or the first of them, for counts of what people ask about."""
    limit = min(work.recipe.completeness.max_tokens or INDEXED_TOKENS, INDEXED_TOKENS)
    outside = len(tables.vocabulary)
    write_token_index(folder, lambda: training_texts(tables.corpus, outside, limit), outside)


def _copy_sae(source: Path, target: Path, model: str) -> None:
    """The weights as they were trained, under the name that the model has now."""
    target.mkdir(parents=True)
    shutil.copyfile(source / WEIGHTS_FILE, target / WEIGHTS_FILE)
    write_header(target, replace(load_header(source), model=model))


def _manifest(work: Work, folder: Path, counts: dict[str, int]) -> Manifest:
    files = hash_folder(folder)
    summary = {"run": work.paths.run, "tables": counts, "saes": work.recipe.sae_names}
    return Manifest(
        stage="publish",
        key=work.key,
        config=publish_config(work.recipe),
        inputs={name: manifest.key for name, manifest in work.inputs.items()},
        seed=work.recipe.seed,
        counts={**summary, "bytes": sum(file.bytes for file in files.values())},
        files=files,
        code_version=__version__,
        seconds=0.0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _rows(work: Work, first_rows: list[int], tables: PublishedRun) -> SQLRows:
    """The rows of SQL, as plain JSON."""
    recipe = work.recipe
    metrics = json.loads((work.input_folder("evaluate") / METRICS_FILE).read_text())
    showpieces = find_showpieces(tables, recipe.sae_names, NUM_SHOWPIECES)
    run = {
        "contract": CONTRACT_VERSION,
        "model": recipe.model.name,
        "model_source": work.inputs["fetch"].counts["model"],
        "layer": recipe.model.layer,
        "recipe": recipe.model_dump(mode="json"),
        "corpus": _counts(work),
        "showpieces": [asdict(piece) for piece in showpieces],
        "responses": _responses(work),
        "created": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds"),
    }
    saes = [
        {
            "position": position,
            "first_row": first_rows[position],
            "config": config.model_dump(mode="json"),
            **_trained(work, recipe.sae_name(config), metrics[recipe.sae_name(config)]),
        }
        for position, config in enumerate(recipe.saes)
    ]
    return dict(finite({"run": run, "saes": saes}))


def _counts(work: Work) -> dict[str, dict[str, Any]]:
    """What the counted stages have to say, by stage."""
    fetched, counts = work.inputs["fetch"], {stage: work.inputs[stage].counts for stage in COUNTED_STAGES}
    return {**counts, "fetch": fetched_counts(fetched, work.recipe.model, model_folder(fetched, work.paths))}


def _responses(work: Work) -> dict[str, Any]:
    """The best of what was measured, and how much that was: the JSON of data.artifacts.responses.Responses.

    Features have the labels that they are called by now, not those by which they were chosen.
    """
    shown: dict[str, Any] = json.loads((work.input_folder("respond") / RESPONSES_FILE).read_text())["shown"]
    labels = {name: _labels(work, name) for name in work.recipe.sae_names}
    for one in (*shown["chats"], *shown["openings"]):
        one["label"] = labels[one["sae"]][one["index"]].as_py()
    return shown


def _labels(work: Work, sae: str) -> pa.ChunkedArray:
    return read_labels(work.input_folder("explain"), work.input_folder("score"), sae)["label"]


def _trained(work: Work, name: str, measured: dict[str, Any]) -> dict[str, Any]:
    """Facts about a trained SAE from its folders, and its metrics."""
    folder = work.input_folder("train") / name
    statistics = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)
    header, curve = load_header(folder), json.loads((folder / CURVE_FILE).read_text())
    trend = loss_trend(curve)
    return {
        "metrics": {
            **measured,
            **count_features(statistics, work.recipe.examples.rare_tokens)._asdict(),
            "neurons": work.inputs["neurons"].counts["saes"][name],
            "loss_trend": trend.as_json() if trend else None,
        },
        "name": header.name,
        "num_features": header.num_features,
        "architecture": header.architecture,
        "curve": thin(curve, MAX_CURVE_POINTS),
        "histogram_scale": header.activation_scale,
    }


def thin(points: list[Any], limit: int) -> list[Any]:
    """At most `limit` of the points, evenly spaced, the first and the last among them."""
    count = min(limit, len(points))
    return [points[round(place * (len(points) - 1) / max(count - 1, 1))] for place in range(count)]


def finite(value: Any) -> Any:
    """The same JSON with None in place of NaN and infinities, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def publish_config(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that decides what is published: all of it."""
    trained = {"imports"} if recipe.train.saes else set()
    return {"recipe": recipe.model_dump(mode="json", exclude=trained), "contract": CONTRACT_VERSION}
