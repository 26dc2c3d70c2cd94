"""Rows of Neuronpedia's dashboards: of a feature and its examples as SAEDashboard's NeuronpediaRunner writes them, and
of the tables that Neuronpedia imports.

By sae_dashboard/neuronpedia/neuronpedia_dashboard.py and neuronpedia_export.py of SAEDashboard, and by
apps/webapp/prisma/schema.prisma of Neuronpedia (2026). What is not measured here is left empty.

Shapes: H bins of a histogram, A bands between 0 and a feature's maximum.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data.artifacts.features import TOP, histogram_edges
from pipeline.arrays import Floats

CREATOR_ID = "clkht01d40000jv08hvalcvly"
"""Of whoever imports, by SAEDashboard's own default: the importing side puts its account's id in its place."""
NAME_PATTERN = r"[^A-Za-z0-9_-]+"
"""What Neuronpedia allows in no id of a model, and so is written as a dash."""
ALIGNED, SIMILAR = 3, 10
"""Dimensions of the stream with which a direction goes most, and features of the SAE nearest to it, that are named."""
NO_BIN = -1.0
"""Stands where an example is one of the strongest and of no interval."""

Record = Mapping[str, Any]


class Names(NamedTuple):
    """What the rows of one SAE have in common."""

    model: str
    """Id of the language model on Neuronpedia."""
    display: str
    layer: int
    set: str
    """Name of the source set: the SAEs of all layers that were made alike."""
    dataset: str
    num_prompts: int
    prompt_length: int
    """Tokens of the longest sequence."""
    created: str

    @property
    def source(self) -> str:
        """Id of the SAE: its layer and its set."""
        return f"{self.layer}-{self.set}"

    @property
    def release(self) -> str:
        return f"monosema-{self.model}"

    @property
    def row(self) -> dict[str, Any]:
        """Columns by which every row of a feature is found."""
        return {"modelId": self.model, "layer": self.source}


def names_of(model: str, display: str, layer: int, sae: str, corpus: Record, created: str) -> Names:
    """Names for an SAE whose own begins with its layer, e.g. 14-relu-4096. corpus: the counts of its tokenization."""
    set_name = re.sub(NAME_PATTERN, "-", sae.removeprefix(f"{layer}-"))
    return Names(
        re.sub(NAME_PATTERN, "-", model), display, layer, set_name, str(corpus.get("corpus", "")),
        int(corpus["num_sequences"]), int(corpus["context_length"]), created,
    )  # fmt: skip


def token_text(token: bytes) -> str:
    """A token as Neuronpedia shows it. PostgreSQL keeps no zero byte."""
    return token.decode("utf-8", errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def number(value: float) -> float:
    """A float32 in no more digits than it has."""
    return float(f"{value:.7g}")


# ---- As SAEDashboard writes it


def dashboard(
    record: Record, examples: Sequence[Record], texts: Sequence[Sequence[str]], vocabulary: Sequence[bytes],
    scale: float, num_bands: int,
) -> dict[str, Any]:  # fmt: skip
    """A feature. texts: the tokens of each example. scale: see histogram_edges. Its logits' histogram is empty."""
    vector_D = np.asarray(record["vector"], np.float32)
    aligned = np.argsort(-np.abs(vector_D))[:ALIGNED]
    contained_A = band_shares(record, scale, num_bands)
    return {
        "feature_index": record["index"],
        "neuron_alignment_indices": aligned.tolist(),
        "neuron_alignment_values": [number(vector_D[at]) for at in aligned],
        "neuron_alignment_l1": [number(abs(vector_D[at]) / np.abs(vector_D).sum()) for at in aligned],
        **{f"correlated_{of}_{kind}": [] for of in ("neurons", "features") for kind in ("indices", "l1", "pearson")},
        **_logits("neg", record["suppressed"], record["suppressed_logits"], vocabulary),
        **_logits("pos", record["promoted"], record["promoted_logits"], vocabulary),
        "frac_nonzero": number(record["density"]),
        **frequencies(record["histogram"], scale),
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        "decoder_weights_dist": [],
        "activations": [
            _activation(one, tokens, record["max"], contained_A) for one, tokens in zip(examples, texts, strict=True)
        ],
    }


def _logits(sign: str, tokens: Sequence[int], logits: Sequence[float], vocabulary: Sequence[bytes]) -> dict[str, Any]:
    return {
        f"{sign}_str": [token_text(vocabulary[token]) for token in tokens],
        f"{sign}_values": [number(logit) for logit in logits],
    }


def frequencies(histogram: Sequence[int], scale: float) -> dict[str, list[float]]:
    """How many activations lie in each bin, by the middles of bins; bins get wider upwards, four an octave."""
    counts_H, edges = np.asarray(histogram), histogram_edges(scale)
    filled = np.flatnonzero(counts_H)
    kept = slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0)
    middles_H = (edges[:-1] + edges[1:]) / 2
    return {
        "freq_hist_data_bar_values": [number(value) for value in middles_H[kept]],
        "freq_hist_data_bar_heights": [float(count) for count in counts_H[kept]],
    }


def band_shares(record: Record, scale: float, num_bands: int) -> Floats:
    """Share of all tokens in each band [A], the lowest with those on which the feature is not active.

    By the histogram: a bin that lies in two bands is divided as if its activations were spread evenly.
    """
    counts_H, highest, edges = np.asarray(record["histogram"], np.float64), record["max"], histogram_edges(scale)
    if highest <= 0:
        silent_A: Floats = np.eye(num_bands)[0]
        return silent_A
    from_H = np.minimum(np.concatenate([[0.0], edges[1:-1]]), highest)
    to_H = np.minimum(np.concatenate([edges[1:-1], [np.inf]]), highest)
    bounds = np.linspace(0, highest, num_bands + 1)
    inside_AH = np.minimum(to_H, bounds[1:, None]) - np.maximum(from_H, bounds[:-1, None])
    width_H = to_H - from_H
    share_AH = np.where(width_H > 0, inside_AH.clip(min=0) / np.where(width_H > 0, width_H, 1), 0)
    share_AH[-1] += width_H == 0
    shares_A: Floats = (share_AH * counts_H).sum(1) / max(1.0, counts_H.sum()) * record["density"]
    shares_A[0] += 1 - record["density"]
    return shares_A


def _activation(example: Record, tokens: Sequence[str], highest: float, contained_A: Floats) -> dict[str, Any]:
    values = [0.0] * len(tokens)
    for offset, value in zip(example["offsets"], example["values"], strict=True):
        values[offset] = number(value)
    step, band = highest / len(contained_A), example["band"]
    of_band = (step * band, step * (band + 1), float(contained_A[band]))
    bin_min, bin_max, contains = (NO_BIN, highest, NO_BIN) if example["kind"] == TOP else of_band
    return {
        "bin_min": number(bin_min), "bin_max": number(bin_max), "bin_contains": number(contains),
        "qualifying_token_index": example["position"] - example["start"], "tokens": list(tokens), "values": values,
    }  # fmt: skip


# ---- As Neuronpedia imports it


def feature_row(names: Names, shown: Record, record: Record, similar: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Of table Neuron. similar: the nearest features of its SAE with their cosines."""
    kept = {name: value for name, value in shown.items() if name not in ("feature_index", "activations")}
    return {
        **names.row, "index": str(shown["feature_index"]), "sourceSetName": names.set, "creatorId": CREATOR_ID,
        "createdAt": names.created, "maxActApprox": number(record["max"]), "hasVector": False, "vector": [],
        "vectorLabel": None, "vectorDefaultSteerStrength": number(record["max"]), "hookName": None,
        "topkCosSimIndices": [index for index, _ in similar],
        "topkCosSimValues": [number(cosine) for _, cosine in similar], **kept,
    }  # fmt: skip


def activation_rows(names: Names, shown: Record) -> Iterator[dict[str, Any]]:
    """Of table Activation."""
    for number_of, one in enumerate(shown["activations"]):
        values = one["values"]
        yield {
            "id": _id(names, "activation", shown["feature_index"], number_of), "tokens": one["tokens"], **names.row,
            "index": str(shown["feature_index"]), "maxValue": max(values), "maxValueTokenIndex": int(np.argmax(values)),
            "minValue": min(values), "values": values, "creatorId": CREATOR_ID, "createdAt": names.created,
            "dfaValues": [], "dfaTargetIndex": None, "dfaMaxValue": None, "lossValues": [], "logitContributions": None,
            "binMin": one["bin_min"], "binMax": one["bin_max"], "binContains": one["bin_contains"],
            "qualifyingTokenIndex": one["qualifying_token_index"], "dataIndex": None, "dataSource": None,
        }  # fmt: skip


def explanation_row(names: Names, record: Record) -> dict[str, Any] | None:
    """Of table Explanation: the label; None where the feature has none. Its kind is none of Neuronpedia's own."""
    if not record["label"]:
        return None
    return {
        "id": _id(names, "explanation", record["index"], 0), **names.row, "index": str(record["index"]),
        "authorId": CREATOR_ID, "description": record["label"].replace("\0", ""), "typeName": None,
        "explanationModelName": None, "notes": f"monosema, by {record['label_origin']}", "createdAt": names.created,
    }  # fmt: skip


def release_row(names: Names) -> dict[str, Any]:
    """Of table SourceRelease."""
    what = f"SAEs of {names.display}, by Monosema"
    return {
        "name": names.release, "description": what, "descriptionShort": what, "creatorName": "Monosema",
        "creatorNameShort": "Monosema", "creatorId": CREATOR_ID, "creatorEmail": None, "visibility": "PUBLIC",
        "isNewUi": False, "featured": False, "urls": [], "defaultSourceSetName": names.set,
        "defaultSourceId": names.source, "defaultUmapSourceIds": [], "createdAt": names.created,
    }  # fmt: skip


def model_row(names: Names, *, width: int, num_layers: int, neurons_per_layer: int, chats: bool) -> dict[str, Any]:
    """Of table Model; 0 stands for what is not known."""
    return {
        "id": names.model, "instruct": chats, "displayNameShort": names.display, "displayName": names.display,
        "creatorId": CREATOR_ID, "tlensId": None, "dimension": width, "visibility": "PUBLIC",
        "defaultSourceSetName": None, "defaultSourceId": None, "inferenceEnabled": False, "layers": num_layers,
        "neuronsPerLayer": neurons_per_layer, "owner": "", "website": None, "createdAt": names.created,
        "updatedAt": names.created,
    }  # fmt: skip


def source_set_row(names: Names, description: str) -> dict[str, Any]:
    """Of table SourceSet."""
    return {
        "modelId": names.model, "name": names.set, "creatorId": CREATOR_ID, "creatorName": "Monosema",
        "hasDashboards": True, "visibility": "PUBLIC", "description": description, "type": "", "urls": [],
        "creatorEmail": None, "releaseName": names.release, "defaultOfModelId": None, "defaultRange": 1,
        "defaultShowBreaks": True, "showDfa": False, "showCorrelated": False, "showHeadAttribution": False,
        "showUmap": False, "createdAt": names.created,
    }  # fmt: skip


def source_row(names: Names) -> dict[str, Any]:
    """Of table Source."""
    return {
        "id": names.source, "modelId": names.model, "setName": names.set, "creatorId": CREATOR_ID,
        "hasDashboards": True, "inferenceEnabled": False, "saelensConfig": None, "saelensRelease": None,
        "saelensSaeId": None, "hfRepoId": None, "hfFolderId": None, "visibility": "PUBLIC", "defaultOfModelId": None,
        "hasUmap": False, "hasUmapLogSparsity": False, "hasUmapClusters": False, "num_prompts": names.num_prompts,
        "num_tokens_in_prompt": names.prompt_length, "dataset": names.dataset, "notes": None,
        "createdAt": names.created,
    }  # fmt: skip


def _id(names: Names, kind: str, feature: int, position: int) -> str:
    """The same for the same row, of the length of Neuronpedia's own."""
    text = f"{names.model}/{names.source}/{names.created}/{kind}/{feature}/{position}"
    return "c" + hashlib.sha256(text.encode()).hexdigest()[:24]
