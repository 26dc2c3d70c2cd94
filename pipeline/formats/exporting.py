"""Export of published SAEs: a folder for each in another library's format, with a model card."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from data.artifacts.corpus import describe_limits
from data.errors import ConfigError
from data.hooks import hook_in_words
from data.layout import StorePaths
from data.published.metrics import with_interval
from data.published.state import SAES_FOLDER, Published, open_published
from data.published.tables import PublishedRun
from data.sql.records import SAERecord
from pipeline.formats import dictionary_learning, saelens, sparsify
from pipeline.formats.exported import Exported
from pipeline.formats.hooks import module_name
from pipeline.formats.neuronpedia_bundle import write_bundle
from pipeline.models.sae import SAE

ExportFormat = Literal["saelens", "sparsify", "dictionary_learning", "neuronpedia"]
WRITERS: dict[str, Callable[[Exported, Path], None]] = {
    "saelens": saelens.write, "sparsify": sparsify.write, "dictionary_learning": dictionary_learning.write,
}  # fmt: skip
"""Of weights. Neuronpedia takes dashboards, see neuronpedia_bundle.py."""
LIBRARIES = {
    "saelens": "saelens", "sparsify": "sparsify", "dictionary_learning": "dictionary-learning",
    "neuronpedia": "neuronpedia",
}  # fmt: skip
CARD = "README.md"
LOADING = {
    "saelens": ("from sae_lens import SAE", 'sae = SAE.load_from_disk("path/to/this/folder")'),
    "sparsify": ("from sparsify import SparseCoder", 'sae = SparseCoder.load_from_disk("path/to/this/folder")'),
    "dictionary_learning": (
        "from dictionary_learning.utils import load_dictionary",
        'sae, config = load_dictionary("path/to/this/folder", device="cpu")',
    ),
}
DASHBOARDS = """Dashboards for Neuronpedia: `saedashboard/` as SAEDashboard's runner leaves them, the other folder as
Neuronpedia imports them (put your account's id there for `creatorId` and `authorId`). The bins of `freq_hist_data` are
a quarter of an octave wide; correlated neurons and features are left empty."""


def export_saes(store: StorePaths, run: str | None, only: str | None, kind: ExportFormat, target: Path) -> list[Path]:
    """Write the SAEs of a published run (None: the newest), or one of them, into folders of a new folder `target`.

    All of it, or nothing. Raises ConfigError, FormatError, ArtifactError.
    """
    if target.exists() or not target.parent.is_dir():
        raise ConfigError(f"{target} cannot be made: name a new folder, in a folder that is there")
    published = open_published(store, run)
    saes = [sae for sae in published.record.saes if only in (None, sae.name)]
    if not saes:
        names = ", ".join(sae.name for sae in published.record.saes)
        raise ConfigError(f"run '{published.record.name}' has no SAE '{only}': use one of {names}")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        folders = [_export(published, sae, kind, partial / _folder(published, sae, kind), store) for sae in saes]
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [target / folder.relative_to(partial) for folder in folders]


def _folder(published: Published, sae: SAERecord, kind: ExportFormat) -> str:
    """sparsify knows the module by the name of its folder."""
    return f"{sae.name}/{module_name(published.record.layer, published.hook)}" if kind == "sparsify" else sae.name


def _export(published: Published, record: SAERecord, kind: ExportFormat, folder: Path, store: StorePaths) -> Path:
    folder.mkdir(parents=True)
    exported = describe(published, record)
    if kind == "neuronpedia":
        write_bundle(published, record, store, folder)
    else:
        WRITERS[kind](exported, folder)
    (folder / CARD).write_text(card(exported, record.name, kind), encoding="utf-8")
    return folder


def describe(published: Published, record: SAERecord) -> Exported:
    """A published SAE with what is known of it."""
    run, counts = published.record, published.record.corpus
    rows = range(record.first_row, record.first_row + record.num_features)
    density = PublishedRun(published.folder).take("features", list(rows), ["density"])["density"].to_numpy()
    source = str(run.recipe["model"]["source"])
    return Exported(
        SAE.load(published.folder / SAES_FOLDER / record.name),
        source if source.count("/") == 1 and not Path(source).exists() else run.model_name,
        str(run.recipe["corpus"].get("dataset") or counts["tokenize"].get("corpus", "")),
        int(counts["tokenize"]["context_length"]),
        counts["tokenize"]["bos_id"] is not None,
        torch.from_numpy(np.array(density, np.float32)),
        _facts(published, record),
        published.hook,
    )


def _facts(published: Published, record: SAERecord) -> dict[str, str]:
    run, metrics = published.record, record.metrics
    facts = {
        "Language model": run.model_name,
        "Place": f"{hook_in_words(run.layer, published.hook)} (layers from 0)",
        "Architecture": record.architecture,
        "Features": f"{record.num_features:,}",
        "Text": str(run.corpus["tokenize"].get("corpus", "")),
    }
    if limit := describe_limits(run.corpus["tokenize"]):
        facts["Of that text"] = f"it {limit}"
    for name, title, form in (("explained_variance", "Explained variance", ".3f"), ("l0", "L0", ".1f")):
        if metrics.get(name) is not None:
            facts[f"{title}, held-out text"] = format(metrics[name], form)
    if loss := with_interval(metrics, "loss_added"):
        facts["Loss added, nats per token"] = loss
    return facts


def card(exported: Exported, name: str, kind: ExportFormat) -> str:
    """The model card: what the SAE is, how good it is, and how it is loaded."""
    lines = "\n".join(f"| {title} | {value} |" for title, value in exported.facts.items() if value)
    head = f"---\nlibrary_name: {LIBRARIES[kind]}\ntags:\n- sparse-autoencoder\n- interpretability\n---\n"
    what = (
        f"A sparse autoencoder, written by Monosema for {kind}. Its activations are in the units of the residual "
        "stream: decoder directions have norm 1."
    )
    return f"{head}\n# {name}\n\n{what}\n\n| | |\n|---|---|\n{lines}\n\n{_use(kind)}\n"


def _use(kind: ExportFormat) -> str:
    """How what is written is taken into use."""
    if kind == "neuronpedia":
        return DASHBOARDS
    loading = "\n\n".join(LOADING[kind])
    return f"```python\n{loading}\n```"
