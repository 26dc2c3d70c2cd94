"""Neuronpedia's dashboards of a published SAE, written a few features at a time.

    {folder}/saedashboard/batch-{n}.json                        what SAEDashboard's NeuronpediaRunner leaves
    {folder}/{model}/{source}/release.jsonl, model.jsonl, sourceset.jsonl, source.jsonl
    {folder}/{model}/{source}/features/batch-{n}.jsonl.gz       and activations/, explanations/: what is imported

Shapes: B features of a part, S SAEs of the run, V vocabulary, D width.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.artifacts.features import INTERVAL, TOP
from data.layout import StorePaths
from data.published.state import Published
from data.published.tables import PublishedRun
from data.sql.records import SAERecord
from pipeline.fetching.local import model_config
from pipeline.formats import neuronpedia as rows
from pipeline.models.language_model import LanguageModel
from pipeline.progress import log, track

BATCH, PART = 1024, 64
"""Features of a file, and of what is in memory at once."""
LOGIT_BINS = 50
COLUMNS = (
    *("index", "density", "max", "num_active", "histogram", "label", "label_origin", "promoted", "promoted_logits"),
    *("suppressed", "suppressed_logits", "first_example", "num_examples", "vector"),
)
EXAMPLE_COLUMNS = ("kind", "band", "document", "position", "start", "length", "offsets", "values")
SHOWN_KINDS = (TOP, INTERVAL)
CHAT_TEMPLATE_FILE = "chat_template.jinja"


class Unembedding(NamedTuple):
    """By which directions are read, float32."""

    scale_D: Tensor
    W_U_VD: Tensor

    def histograms(self, directions_BD: Tensor) -> list[dict[str, list[float]]]:
        """Of the logits that each direction adds, LOGIT_BINS bins between its lowest and its highest."""
        logits_BV = (directions_BD * self.scale_D) @ self.W_U_VD.T
        low_B, high_B = logits_BV.amin(1), logits_BV.amax(1)
        step_B = (high_B - low_B).clamp(min=1e-12) / LOGIT_BINS
        bin_BV = ((logits_BV - low_B[:, None]) / step_B[:, None]).long().clamp_(0, LOGIT_BINS - 1)
        bin_BV += LOGIT_BINS * torch.arange(len(bin_BV))[:, None]
        counts = torch.bincount(bin_BV.flatten(), minlength=LOGIT_BINS * len(bin_BV)).view(-1, LOGIT_BINS)
        middles = low_B[:, None] + step_B[:, None] * (torch.arange(LOGIT_BINS) + 0.5)
        return [
            {
                "logits_hist_data_bar_heights": [float(count) for count in counts[feature]],
                "logits_hist_data_bar_values": [rows.number(float(value)) for value in middles[feature]],
            }
            for feature in range(len(counts))
        ]


class _Source(NamedTuple):
    """One published SAE."""

    tables: PublishedRun
    record: SAERecord
    names: rows.Names
    num_bands: int
    num_saes: int
    """Of the run."""
    unembedding: Unembedding | None


def write_bundle(published: Published, record: SAERecord, store: StorePaths, folder: Path) -> None:
    """Write the dashboards of an SAE into a folder. Without the language model, histograms of logits are left out."""
    run = published.record
    names = rows.names_of(
        run.model, run.model_name, run.layer, record.name, run.corpus["tokenize"], run.created.isoformat()
    )
    num_bands, num_saes = int(run.recipe["examples"]["bands"]), len(run.saes)
    source = _Source(PublishedRun(published.folder), record, names, num_bands, num_saes, _unembedding(published, store))
    dashboards, imported = folder / "saedashboard", folder / names.model / names.source
    for made in (dashboards, *(imported / kind for kind in ("features", "activations", "explanations"))):
        made.mkdir(parents=True)
    _write_heads(published, source, store, imported)
    with track(f"neuronpedia: {record.name}", record.num_features, "features") as progress:
        for number, start in enumerate(range(0, record.num_features, BATCH)):
            count = min(BATCH, record.num_features - start)
            _write_batch(source, start, count, dashboards / f"batch-{number}.json", imported, f"batch-{number}")
            progress.advance(count)


def _unembedding(published: Published, store: StorePaths) -> Unembedding | None:
    folder = store.root / published.record.model_source
    if not folder.is_dir():
        log(f"{folder} is not here, so no histogram of logits is written: fetch the model to have them")
        return None
    dtype = str(published.record.recipe["model"]["dtype"])
    model = LanguageModel.load(folder, layer=published.record.layer, dtype=dtype, fused=False)
    return Unembedding(*(one.float() for one in model.unembedding()))


def _write_heads(published: Published, source: _Source, store: StorePaths, folder: Path) -> None:
    """The rows of what the features belong to."""
    names, model = source.names, store.root / published.record.model_source
    config = model_config(model) if model.is_dir() else {}
    what = f"{source.record.num_features:,} features, {source.record.architecture}, run {published.record.name}"
    described = rows.model_row(
        names, width=source.tables.width, num_layers=int(config.get("num_hidden_layers") or 0),
        neurons_per_layer=int(config.get("intermediate_size") or 0), chats=(model / CHAT_TEMPLATE_FILE).is_file(),
    )  # fmt: skip
    heads = {
        "release": rows.release_row(names), "model": described, "sourceset": rows.source_set_row(names, what),
        "source": rows.source_row(names),
    }  # fmt: skip
    for name, row in heads.items():
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")


def _write_batch(source: _Source, start: int, count: int, dashboards: Path, imported: Path, name: str) -> None:
    names = source.names
    head = json.dumps({"model_id": names.model, "layer": names.layer, "sae_set": names.set})[:-1]
    counted = {"n_prompts_total": names.num_prompts, "n_tokens_in_prompt": names.prompt_length,
               "dataset": names.dataset}  # fmt: skip
    with ExitStack() as stack:
        whole = stack.enter_context(dashboards.open("w", encoding="utf-8"))
        features, activations, explanations = (
            stack.enter_context(gzip.open(imported / kind / f"{name}.jsonl.gz", "wt", compresslevel=5))
            for kind in ("features", "activations", "explanations")
        )
        whole.write(f'{head}, "features": [')
        for number, (record, shown, similar) in enumerate(_features(source, start, count)):
            whole.write((",\n" if number else "\n") + json.dumps({**shown, **counted}))
            _put(features, rows.feature_row(names, shown, record, similar))
            for row in rows.activation_rows(names, shown):
                _put(activations, row)
            if (row_of_label := rows.explanation_row(names, record)) is not None:
                _put(explanations, row_of_label)
        whole.write("\n]}\n")


def _put(file: IO[str], row: Mapping[str, Any]) -> None:
    file.write(json.dumps(row) + "\n")


_Found = tuple[dict[str, Any], dict[str, Any], list[tuple[int, float]]]


def _features(source: _Source, start: int, count: int) -> Iterator[_Found]:
    """Of each feature its record, what is shown of it, and the nearest features of its SAE."""
    tables, record = source.tables, source.record
    for first in range(start, start + count, PART):
        of_rows = range(record.first_row + first, record.first_row + min(first + PART, start + count))
        records = tables.take("features", of_rows, list(COLUMNS)).to_pylist()
        near = tables.take("neighbours", of_rows, ["indices", "cosines"]).to_pylist()
        found = [_examples(source, one) for one in records]
        vectors_BD = torch.tensor(np.array([one["vector"] for one in records], np.float32))
        histograms = source.unembedding.histograms(vectors_BD) if source.unembedding else [{} for _ in records]
        for one, beside, (examples, texts), histogram in zip(records, near, found, histograms, strict=True):
            shown = rows.dashboard(one, examples, texts, tables.vocabulary, record.histogram_scale, source.num_bands)
            yield one, {**shown, **histogram}, _similar(beside, source)


def _examples(source: _Source, record: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """The strongest examples of a feature, then those of its bands from the highest, and the tokens of each."""
    tables, counts = source.tables, record["num_examples"]
    found: list[dict[str, Any]] = []
    for kind in SHOWN_KINDS:
        found += tables.examples(record["first_example"], counts, kind, EXAMPLE_COLUMNS).to_pylist()
    found.sort(key=lambda one: (one["kind"], -one["band"]))
    places = [[one[name] for one in found] for name in ("document", "start", "length")]
    texts = [[rows.token_text(tables.vocabulary[token]) for token in tokens] for tokens in tables.windows(*places)]
    return found, texts


def _similar(beside: Mapping[str, Any], source: _Source) -> list[tuple[int, float]]:
    """Of the nearest features in every SAE [S, K], those of its own."""
    index_K, cosine_K = (
        np.reshape(beside[name], (source.num_saes, -1))[source.record.position, : rows.SIMILAR]
        for name in ("indices", "cosines")
    )
    return [(int(index), float(cosine)) for index, cosine in zip(index_K, cosine_K, strict=True) if index >= 0]
