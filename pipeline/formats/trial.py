"""The trial of an SAE before anything long starts: a few hundred tokens of the corpus through the model and the SAE.

Shapes: S sequences, L tokens of one, N rows (tokens that are neither opening ones nor attention sinks), D width.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from data.errors import CorpusError, FormatError
from data.hooks import HOOKS, RESID_POST, Hook
from pipeline.corpus.document import Document, Source
from pipeline.formats.foreign import Foreign
from pipeline.formats.hooks import is_module
from pipeline.models.errors import ModelError
from pipeline.models.hooks import Cut
from pipeline.models.language_model import LanguageModel
from pipeline.models.left_out import are_sinks, measure_sink_norm, row_norms
from pipeline.models.sae import SAE
from pipeline.models.standardise import Normalisation
from pipeline.models.tokenizer import Tokenizer

SEQUENCES, LENGTH, SHORTEST = 6, 96, 8
"""Sequences that are read, and tokens of each at most and at least."""
DOCUMENTS = 500
"""Documents among which such sequences are sought."""
LEAST_VARIANCE, LEAST_L0 = 0.3, 0.5
"""Less is explained, or active on a token, by no SAE that fits. More than `width` features active are not sparse."""
BETTER = 0.05
"""Of the variance, by which another layer must explain more to be named for an SAE that seems to fit. Of readings that
differ by less, the likelier kind is named: another layer, another hook, one factor for all, a norm of each token,
BOS."""
MOST_TOLD = 6
NORMALISATIONS: dict[Normalisation, str] = {
    "layer_norm": "a layer norm of each token", "constant_norm": "each token scaled to one norm",
    "none": "no normalisation",
}  # fmt: skip


class Figures(NamedTuple):
    """An SAE on some rows."""

    explained_variance: float
    l0: float

    def are_sane(self, width: int) -> bool:
        return self.explained_variance >= LEAST_VARIANCE and LEAST_L0 <= self.l0 <= width

    def __str__(self) -> str:
        return f"explained variance {self.explained_variance:.3f}, L0 {self.l0:,.1f}"


class Alternative(NamedTuple):
    """Another reading of the SAE, and what it gives."""

    what: str
    remedy: str
    figures: Figures


class Trial(NamedTuple):
    """The result of a trial in which the SAE fits."""

    figures: Figures
    num_tokens: int
    better_layer: Alternative | None
    """A neighbouring layer at which it explains clearly more."""


class Rows(NamedTuple):
    """The activations of the sequences at one hook of every layer, or of the first ones."""

    by_layer: list[Tensor]
    """[N, D] each, float32."""

    def at(self, layer: int, sink_factor: float) -> Tensor:
        """The rows of one layer, sinks left out."""
        return _without_sinks(self.by_layer[layer], sink_factor)


def first_tokens(source: Source, tokenizer: Tokenizer) -> list[list[int]]:
    """The beginnings of the first documents that are long enough, without an opening token. Raises CorpusError."""
    found: list[list[int]] = []
    for document in islice(source.documents(), DOCUMENTS):
        tokens = _tokens(document, tokenizer)[:LENGTH]
        if len(tokens) >= SHORTEST:
            found.append(tokens)
        if len(found) == SEQUENCES:
            break
    if not found:
        raise CorpusError(f"none of the first {DOCUMENTS} documents has {SHORTEST} tokens: the SAE cannot be tried")
    return found


def _tokens(document: Document, tokenizer: Tokenizer) -> list[int]:
    """Of a text's beginning, or of a conversation by the model's chat template."""
    if document.chat is None:
        return tokenizer.encode(document.text[: 20 * LENGTH])
    if document.chat.problem:
        return []
    try:
        return tokenizer.converse(document.chat.messages).tokens[len(tokenizer.opening) :]
    except ModelError:  # `tokenize` says why, or leaves it out
        return []


@torch.no_grad()
def read_layers(
    model: LanguageModel, sequences: Sequence[Sequence[int]], opening: Sequence[int], last: int | None = None
) -> Rows:
    """The activations at the model's hook of every layer, at every token but the first one of each sequence.

    opening: the model's opening token, or nothing for none. last: the layer after which none is run; None runs all.
    """
    last = model.num_layers - 1 if last is None else last
    leading = Cut(model.parts, last, RESID_POST)
    taken: list[list[Tensor]] = []
    with ExitStack() as stack:
        watched = [stack.enter_context(model.cut.watched(layer)) for layer in model.layers[: last + 1]]
        for tokens in sequences:
            leading.until(input_ids=torch.tensor([[*opening, *tokens]], device=model.device))
            taken.append([seen()[0, 1:].float() for seen in watched])
    return Rows([torch.cat(parts) for parts in zip(*taken, strict=True)])


@torch.no_grad()
def read_hook(case: "Case", hook: Hook) -> Tensor | None:
    """The rows at another hook of the layer, sinks left out; None where the model has no such hook."""
    try:
        cut = Cut(case.model.parts, case.layer, hook)
    except ModelError:
        return None
    tokens = [torch.tensor([[*case.opening, *some]], device=case.model.device) for some in case.sequences]
    x_ND = torch.cat([cut.until(input_ids=tokens_1L).x_BLD[0, 1:].float() for tokens_1L in tokens])
    return _without_sinks(x_ND, case.sink_factor)


def _without_sinks(x_ND: Tensor, sink_factor: float) -> Tensor:
    return x_ND[~are_sinks(x_ND, measure_sink_norm(row_norms(x_ND), sink_factor))]


def measure(sae: SAE, x_ND: Tensor) -> Figures:
    """Explained variance and L0 on some rows."""
    sparse = sae.encode_sparse(x_ND)
    residue = float((x_ND - sae.decode_sparse(sparse, x_ND)).cpu().double().square().sum())
    total = float((x_ND - x_ND.mean(0)).cpu().double().square().sum())
    return Figures(1 - residue / total if total > 0 else 0.0, len(sparse.token_K) / max(1, len(x_ND)))


class Case(NamedTuple):
    """What is tried."""

    foreign: Foreign
    model: LanguageModel
    layer: int
    sequences: list[list[int]]
    opening: list[int]
    sink_factor: float
    input_scale: float | None
    other_opening: list[int] | None = None
    """The opening that texts have otherwise: none, or that of the tokenizer; None where there is but one."""

    @property
    def place(self) -> str:
        """The layer, or the hook of it."""
        hook = self.model.hook
        return f"layer {self.layer}" if hook == RESID_POST else f"{hook} of layer {self.layer}"


def try_sae(case: Case) -> Trial:
    """Try an SAE at a layer of its model. Raises FormatError, with what is most likely wrong, when it does not fit."""
    _require_no_norm(case.model, case.foreign.provenance.hook)
    reach = min(case.layer + 1, case.model.num_layers - 1)
    rows = read_layers(case.model, case.sequences, case.opening, reach)
    x_ND = rows.at(case.layer, case.sink_factor)
    scale = case.input_scale or mean_scale(x_ND)
    sae = case.foreign.fold(name="trial", model="", layer=case.layer, activation_scale=1.0, input_scale=scale)
    sae = sae.to(case.model.device)
    figures = measure(sae, x_ND)
    if not figures.are_sane(sae.header.width):
        rows = read_layers(case.model, case.sequences, case.opening)
        raise FormatError(_verdict(case, figures, len(x_ND), list(_alternatives(case, sae, rows, x_ND))))
    beside = [layer for layer in (case.layer - 1, case.layer + 1) if 0 <= layer <= reach]
    found = [_at_layer(case, sae, rows, layer) for layer in beside]
    best = max(found, key=lambda one: one.figures.explained_variance, default=None)
    is_better = best is not None and best.figures.explained_variance > figures.explained_variance + BETTER
    return Trial(figures, len(x_ND), best if is_better else None)


def _require_no_norm(model: LanguageModel, named: str | None) -> None:
    """Raise FormatError where the SAE reads the output of a module behind which the layer has a norm."""
    additions, structure, hook = model.cut.additions, model.parts.structure, model.hook
    if additions is None or named is None or not is_module(named) or hook not in ("attn", "mlp"):
        return
    own = {"attn": structure.attention, "mlp": structure.mlp}[hook]
    adds = {"attn": additions.attention, "mlp": additions.mlp}[hook]
    if own != adds:
        raise FormatError(
            f"the SAE reads {named}, and behind that stands a norm ({adds}), whose output is read here: it is what the "
            "layer adds to the residual stream. Such SAEs of this model cannot be read"
        )


def mean_scale(x_ND: Tensor) -> float:
    """sqrt(D) by the mean norm."""
    return float(x_ND.shape[1] ** 0.5 / row_norms(x_ND).mean())


# ---- What else it could be


def _alternatives(case: Case, sae: SAE, rows: Rows, x_ND: Tensor) -> Iterator[Alternative]:
    yield from (_at_layer(case, sae, rows, layer) for layer in range(len(rows.by_layer)) if layer != case.layer)
    yield from _at_other_hooks(case, sae)
    if not case.foreign.needs_scale:
        scaled = case.foreign.normalised("mean_norm").fold(
            name="trial", model="", layer=case.layer, activation_scale=1.0, input_scale=mean_scale(x_ND)
        )
        what = f"with activations times {mean_scale(x_ND):.4g}, to a mean norm of sqrt(width)"
        yield Alternative(what, "--normalise mean_norm", measure(scaled.to(sae.device), x_ND))
    for kind, what in NORMALISATIONS.items():
        if kind != sae.header.normalisation:
            other = replaced(sae, normalisation=kind)
            yield Alternative(f"with {what}", f"--normalise {kind}", measure(other, x_ND))
    shift_F = sae.W_enc_FD @ sae.b_dec_D
    for sign, what in ((-1, "taken off"), (1, "left in")):
        other = replaced(sae, b_enc_F=sae.b_enc_F + sign * shift_F)
        yield Alternative(f"with the decoder's bias {what} the input", "see apply_b_dec_to_input", measure(other, x_ND))
    if case.other_opening is not None:
        otherwise = read_layers(case.model, case.sequences, case.other_opening).at(case.layer, case.sink_factor)
        what, opening = ("with BOS", "bos") if case.other_opening else ("without BOS", "none")
        yield Alternative(what, f"--set tokenize.opening={opening}", measure(sae, otherwise))


def _at_other_hooks(case: Case, sae: SAE) -> Iterator[Alternative]:
    """The hooks of the same layer that it fits."""
    for hook in HOOKS:
        x_ND = read_hook(case, hook) if hook != case.model.hook else None
        if x_ND is not None and (figures := measure(sae, x_ND)).are_sane(sae.header.width):
            yield Alternative(f"at {hook} of layer {case.layer}", f"--hook {hook}", figures)


def _at_layer(case: Case, sae: SAE, rows: Rows, layer: int) -> Alternative:
    return Alternative(f"at layer {layer}", f"--layer {layer}", measure(sae, rows.at(layer, case.sink_factor)))


def replaced(sae: SAE, *, normalisation: Normalisation | None = None, b_enc_F: Tensor | None = None) -> SAE:
    """The same SAE with another normalisation or another bias."""
    header = sae.header if normalisation is None else replace(sae.header, normalisation=normalisation)
    bias_F = sae.b_enc_F if b_enc_F is None else b_enc_F
    tensors = (sae.W_enc_FD, bias_F, sae.W_dec_FD, sae.b_dec_D, sae.threshold_F)
    return SAE(header, *tensors, selection_F=sae.selection_F)


def _likeliest(sane: list[Alternative]) -> Alternative | None:
    """Of those that are about as good as the best, the best layer, else the first; None of none."""
    near = max((one.figures.explained_variance for one in sane), default=0.0) - BETTER
    good = [one for one in sane if one.figures.explained_variance >= near]
    layers = [one for one in good if one.remedy.startswith("--layer")]
    return max(layers, key=lambda one: one.figures.explained_variance) if layers else next(iter(good), None)


def _verdict(case: Case, figures: Figures, num_tokens: int, found: list[Alternative]) -> str:
    width = case.foreign.width
    ranked = sorted(found, key=lambda one: (one.figures.are_sane(width), one.figures.explained_variance), reverse=True)
    best = _likeliest([one for one in found if one.figures.are_sane(width)])
    begun = (
        f"the SAE does not fit {case.place}: on {num_tokens:,} tokens of the corpus {figures} (at least "
        f"{LEAST_VARIANCE} and between {LEAST_L0} and {width:,} are expected)."
    )
    if best is not None:
        likely = f" Most likely it is to be read {best.what}: {best.figures} ({best.remedy})."
    else:
        likely = (
            " Nothing that was tried in its place fits either, so the model is another one than it was trained on, or "
            "its files are not what they say."
        )
    others = [one for one in ranked if one is not best]
    tried = "; ".join(f"{one.what} {one.figures}" for one in others[:MOST_TOLD])
    return f"{begun}{likely} Tried as well, the best first: {tried}. --anyway goes on as it is."
