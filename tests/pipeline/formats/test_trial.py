"""The trial: an SAE that fits is let through, one that does not is told what is most likely wrong."""

import random
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from data.errors import CorpusError, FormatError
from data.hooks import Hook
from pipeline.formats.foreign import Foreign, Provenance
from pipeline.formats.trial import (
    Alternative,
    Case,
    Figures,
    Rows,
    _alternatives,
    _likeliest,
    first_tokens,
    mean_scale,
    measure,
    read_layers,
    try_sae,
)
from pipeline.formats.weights import Weights
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from tests.support.architectures import KINDS, LAYER, seen_at
from tests.support.foreign import principal_sae, random_tensor
from tests.support.models import byte_tokenizer, tiny_language_model, tiny_llama

DIRECTIONS, BOS = 8, 256
FACTOR = 10.0


def sequences() -> list[list[int]]:
    rng = random.Random(0)
    return [[rng.randrange(256) for _ in range(90)] for _ in range(6)]


def rows() -> Rows:
    return read_layers(tiny_language_model(LAYER), sequences(), [BOS])


def foreign_of(sae: SAE) -> Foreign:
    def read() -> Weights:
        tensors = (sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D, sae.threshold_F)
        return Weights(*(one.clone() for one in tensors))

    return Foreign("saelens", "relu", sae.num_features, sae.header.width, read)


def case_of(sae: SAE, layer: int = LAYER) -> Case:
    return Case(foreign_of(sae), tiny_language_model(layer), layer, sequences(), [BOS], FACTOR, None, [])


def test_the_rows_are_those_of_transformers() -> None:
    found = rows()
    tokens = torch.tensor([[BOS, *sequences()[0]]])
    with torch.no_grad():
        states = tiny_llama()(input_ids=tokens, output_hidden_states=True).hidden_states
    assert len(found.by_layer) == 3
    torch.testing.assert_close(found.by_layer[0][:90], states[1][0, 1:])
    torch.testing.assert_close(found.by_layer[1][:90], states[2][0, 1:])


def test_layers_behind_the_last_that_is_asked_for_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, model = rows(), tiny_language_model(LAYER)
    for layer in model.layers[2:]:
        monkeypatch.setattr(layer, "forward", None)
    found = read_layers(model, sequences(), [BOS], 1).by_layer
    assert len(found) == 2
    assert all(torch.equal(one, other) for one, other in zip(found, whole.by_layer, strict=False))


def test_the_figures_are_those_of_a_naive_computation() -> None:
    x_ND = rows().at(LAYER, FACTOR)
    sae = principal_sae(x_ND, DIRECTIONS)
    acts_NF = sae.encode(x_ND).double()
    residue_ND = x_ND.double() - acts_NF @ sae.W_dec_FD.double() - sae.b_dec_D.double()
    variance = (x_ND.double() - x_ND.double().mean(0)).square().sum()
    figures = measure(sae, x_ND)
    assert figures.explained_variance == pytest.approx(float(1 - residue_ND.square().sum() / variance), abs=1e-4)
    assert figures.l0 == pytest.approx(float((acts_NF > 0).double().sum(1).mean()))


def test_an_sae_that_fits_is_let_through() -> None:
    x_ND = rows().at(LAYER, FACTOR)
    trial = try_sae(case_of(principal_sae(x_ND, DIRECTIONS)))
    assert trial.figures.explained_variance > 0.3
    assert (trial.num_tokens, trial.better_layer) == (len(x_ND), None)


def test_the_layer_that_it_belongs_to_is_named() -> None:
    x_ND = rows().at(LAYER, FACTOR)
    sae = principal_sae(x_ND, DIRECTIONS)
    sae.threshold_F = ((x_ND - x_ND.mean(0)) @ sae.W_dec_FD.T).std(0)
    with pytest.raises(FormatError, match=r"fit layer 0: on \d+ tokens .* to be read at layer 2: .*\(--layer 2\)"):
        try_sae(case_of(sae, layer=0))


def with_silent_features(sae: SAE, x_ND: Tensor) -> SAE:
    """The SAE with features more that none of these rows reaches, and longer ones do."""
    W_FD = torch.nn.functional.normalize(random_tensor(150, x_ND.shape[1], seed=5))
    bias_F = -1.3 * (x_ND @ W_FD.T).amax(0)
    return SAE(
        replace(sae.header, num_features=sae.num_features + 150),
        torch.cat([sae.W_enc_FD, W_FD]), torch.cat([sae.b_enc_F, bias_F]), torch.cat([sae.W_dec_FD, W_FD]),
        sae.b_dec_D, torch.cat([sae.threshold_F, torch.zeros(150)]),
    )  # fmt: skip


def test_a_missing_normalisation_is_named() -> None:
    x_ND = rows().at(LAYER, FACTOR)
    scaled = with_silent_features(principal_sae(x_ND * mean_scale(x_ND), DIRECTIONS), x_ND * mean_scale(x_ND))
    said = r"with activations times .* to a mean norm of sqrt\(width\): .*\(--normalise mean_norm\)"
    case = case_of(scaled)
    with pytest.raises(FormatError, match=said):
        try_sae(case)
    assert try_sae(case._replace(foreign=case.foreign.normalised("mean_norm"))).figures.explained_variance > 0.3


def test_where_nothing_fits_it_is_said_with_all_figures() -> None:
    sae = principal_sae(rows().at(LAYER, FACTOR), DIRECTIONS)
    sae.W_dec_FD = torch.nn.functional.normalize(random_tensor(*sae.W_dec_FD.shape, seed=1))
    with pytest.raises(FormatError, match="Nothing that was tried in its place fits either") as refused:
        try_sae(case_of(sae))
    assert all(part in str(refused.value) for part in ("at layer 0", "without BOS", "--anyway"))
    assert str(refused.value).count("explained variance") >= 6


def at_hook(name: str, hook: Hook) -> LanguageModel:
    return LanguageModel(KINDS[name].make(), layer=LAYER, hook=hook)


SHORT = [[number % 97 for number in tokens[:60]] for tokens in sequences()]


@pytest.mark.parametrize(("name", "hook"), [("gpt2", "mlp"), ("pythia", "attn"), ("gemma2", "resid_mid")])
def test_other_models_are_tried_at_their_hook(name: str, hook: Hook) -> None:
    model, kind = at_hook(name, hook), KINDS[name]
    found = read_layers(model, SHORT, [])
    with torch.no_grad():
        for layer in range(model.num_layers):
            expected = seen_at(kind, kind.make(), layer, hook, torch.tensor(SHORT[:1]))[0, 1:]
            torch.testing.assert_close(found.by_layer[layer][: len(expected)], expected, atol=1e-4, rtol=1e-4)
    sae = principal_sae(found.at(LAYER, FACTOR), 16)
    case = Case(foreign_of(sae), model, LAYER, SHORT, [], FACTOR, None)
    assert try_sae(case).figures.explained_variance > 0.3
    assert case.place == f"{hook} of layer 2"


def test_the_hook_that_it_belongs_to_is_named() -> None:
    x_ND = read_layers(at_hook("gpt2", "mlp"), SHORT, []).at(LAYER, FACTOR)
    sae, model = principal_sae(x_ND, 8), at_hook("gpt2", "resid_post")
    with pytest.raises(FormatError, match=r"does not fit layer 2: .* to be read at mlp of layer 2: .*\(--hook mlp\)"):
        try_sae(Case(foreign_of(sae), model, LAYER, SHORT, [], FACTOR, None))


def test_the_output_of_a_module_before_a_norm_is_refused() -> None:
    model = at_hook("gemma2", "mlp")
    x_ND = read_layers(model, SHORT, []).at(LAYER, FACTOR)
    foreign = replace(foreign_of(principal_sae(x_ND, 8)), provenance=Provenance(hook="layers.2.mlp"))
    case = Case(foreign, model, LAYER, SHORT, [], FACTOR, None)
    with pytest.raises(FormatError, match=r"layers\.2\.mlp, and behind that stands a norm"):
        try_sae(case)
    try_sae(case._replace(foreign=replace(foreign, provenance=Provenance(hook="blocks.2.hook_mlp_out"))))


def test_an_opening_that_it_was_not_trained_with_is_named() -> None:
    model = tiny_language_model(LAYER)
    x_ND = read_layers(model, sequences(), []).at(LAYER, FACTOR)
    sae = principal_sae(x_ND, DIRECTIONS)
    found = [one.remedy for one in _alternatives(case_of(sae), sae, rows(), x_ND)]
    assert "--set tokenize.opening=none" in found
    without = case_of(sae)._replace(opening=[], other_opening=[BOS])
    assert "--set tokenize.opening=bos" in [one.remedy for one in _alternatives(without, sae, rows(), x_ND)]


class Source:
    """Documents of given texts."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def documents(self) -> Iterator[SimpleNamespace]:
        return iter([SimpleNamespace(text=text, chat=None) for text in self.texts])


def test_documents_that_are_too_short_are_passed_over() -> None:
    tokenizer = Tokenizer(byte_tokenizer())
    found = first_tokens(Source("ab", "a river runs", "x" * 500), tokenizer)  # type: ignore[arg-type]
    assert [len(tokens) for tokens in found] == [12, 96]
    with pytest.raises(CorpusError, match="has 8 tokens"):
        first_tokens(Source("ab"), tokenizer)  # type: ignore[arg-type]


def test_of_layers_that_fit_about_as_well_the_best_is_named() -> None:
    found = [
        Alternative(f"at layer {n}", f"--layer {n}", Figures(variance, 30.0))
        for n, variance in enumerate((0.2, 0.66, 0.70, 0.62))
    ]
    norm = Alternative("with a norm", "--normalise layer_norm", Figures(0.71, 30.0))
    assert _likeliest([*found, norm]) == found[2]
    assert _likeliest([found[0], norm]) == norm
    assert _likeliest([]) is None
