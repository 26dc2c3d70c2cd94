"""The model's neurons that a feature goes with, as the run published them."""

from dataclasses import dataclass, replace
from typing import Any

from backend.html.formats import count
from backend.html.tokens import TokenView, highlight, visible_text
from backend.published.catalogue import OpenRun, OpenSAE
from backend.published.examples import documents_of
from backend.published.features import Feature
from data.artifacts.corpus import format_document_id
from data.artifacts.neurons import WEAK_R

NEURON_COLUMNS = [
    "neuron_tokens",
    "neuron_r",
    "neuron_layer",
    "neuron",
    "first_neuron_example",
    "num_neuron_examples",
]

FEW_TOKENS = 100
"""See docs/method.md, *Features against neurons*."""


@dataclass(frozen=True, slots=True)
class NeuronExample:
    """A stretch of a document, with the neuron's activation on every token."""

    document_id: str
    source: str
    position: int
    """Of the token that made it an example, in its document."""
    start: int
    """Position of the first token shown."""
    activation: float
    """At that token: below zero where the neuron's lowest activations are shown."""
    tokens: list[TokenView]


@dataclass(frozen=True, slots=True)
class CorrelatedNeuron:
    """An MLP neuron: the activation that enters `down_proj`."""

    layer: int
    """From 0."""
    neuron: int
    """Its number in the layer."""
    r: float
    """Pearson correlation with the feature over the tokens read."""
    examples: list[NeuronExample]
    """Its own strongest: its highest where r is above zero, else its lowest; only of the feature's first neurons."""


@dataclass(frozen=True, slots=True)
class FeatureNeurons:
    """The neurons that a feature goes with, the highest |r| first."""

    num_tokens: int
    """Tokens of the training documents on which they were compared; 0 where nothing was."""
    num_active: int | None
    """Of these, the tokens on which the feature is active; None where it was not compared."""
    num_layers: int
    """Layers whose neurons were compared, from 0 on."""
    why_none: str
    """The reason why there are no neurons; "" when there are."""
    neurons: list[CorrelatedNeuron]

    @property
    def weak(self) -> bool:
        """Whether it is like no neuron: |r| is below 0.3 for all of them."""
        return bool(self.neurons) and abs(self.neurons[0].r) < WEAK_R

    @property
    def few(self) -> bool:
        """Whether the feature is active so rarely that r, chosen and measured on the same tokens, is too high."""
        return bool(self.neurons) and (self.num_active or 0) < FEW_TOKENS


def get_neurons(sae: OpenSAE, feature: Feature) -> FeatureNeurons:
    """The neurons of one feature with their examples, in a fixed number of reads."""
    run = sae.run
    record = run.tables.take("features", [sae.row(feature.index)], NEURON_COLUMNS).to_pylist()[0]
    counts = run.record.corpus.get("neurons", {})
    examples = _examples(run, record)
    neurons = [
        CorrelatedNeuron(layer, neuron, r, examples[place] if place < len(examples) else [])
        for place, (layer, neuron, r) in enumerate(
            zip(record["neuron_layer"], record["neuron"], record["neuron_r"], strict=True)
        )
    ]
    return FeatureNeurons(
        num_tokens=counts.get("num_tokens", 0),
        num_active=record["neuron_tokens"],
        num_layers=counts.get("num_layers", 0),
        why_none="" if neurons else _why_none(run, feature, record["neuron_tokens"]),
        neurons=neurons,
    )


def _why_none(run: OpenRun, feature: Feature, num_active: int | None) -> str:
    counts = run.record.corpus.get("neurons", {})
    recipe = run.record.recipe.get("neurons", {})
    if why_none := counts.get("why_none", ""):
        return str(why_none)
    if feature.kind:
        return f"It is {feature.kind}, and live features are compared."
    if num_active is None:
        return f"It is not among the {count(recipe.get('features', 0))} features compared, the most active of each SAE."
    times = f"{count(num_active)} of the {count(counts['num_tokens'])} tokens read"
    return f"It is active on {times}, too few to tell: {count(recipe['min_active'])} are needed."


def _examples(run: OpenRun, record: dict[str, Any]) -> list[list[NeuronExample]]:
    """The examples of each of a feature's first neurons."""
    places = [
        range(first, first + num)
        for first, num in zip(record["first_neuron_example"], record["num_neuron_examples"], strict=True)
    ]
    found = run.tables.take("neuron_examples", [row for place in places for row in place]).to_pylist()
    documents = documents_of(run, [e["document"] for e in found])
    first_chunks = [first_chunk for _, first_chunk in documents]
    windows = run.tables.windows_from(first_chunks, [e["start"] for e in found], [len(e["values"]) for e in found])
    sources, records, texts = iter(documents), iter(found), iter(windows)
    read = []
    for place in places:
        mine = [next(records) for _ in place]
        scale = max((abs(e["activation"]) for e in mine), default=0.0)
        read.append([_example(run, e, next(sources)[0], next(texts), scale) for e in mine])
    return read


def _example(run: OpenRun, record: dict[str, Any], source: str, tokens: list[int], scale: float) -> NeuronExample:
    sign = record["end"]
    values = [sign * value for value in record["values"]]
    views = highlight(
        [run.tables.vocabulary[token] for token in tokens], values, scale, record["position"] - record["start"]
    )
    return NeuronExample(
        document_id=format_document_id(record["document_id"]),
        source=visible_text(source),
        position=record["position"],
        start=record["start"],
        activation=record["activation"],
        tokens=[_as_neuron(view, sign) for view in views],
    )


def _as_neuron(view: TokenView, sign: int) -> TokenView:
    """A token with the neuron's own value. A neuron is never quite zero, so the lowest step is not highlighted."""
    if not view.value:
        return view
    return replace(view, value=sign * view.value, level=view.level if view.level > 0 or view.centre else -1)
