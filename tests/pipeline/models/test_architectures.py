"""Every class of models at every hook against plain transformers with a hook of its own."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from pipeline.influence.writing import Opening, Writer
from pipeline.models.attribution import Target, ablate, attribute, fire, trace
from pipeline.models.decoding import make_decoder
from pipeline.models.effects import Places
from pipeline.models.errors import ModelError
from pipeline.models.exact import ExactModel
from pipeline.models.generate import End, Row, Sampling, generate
from pipeline.models.language_model import LanguageModel
from pipeline.models.plain_effects import effects_obstacle, make_later_layers
from pipeline.models.sae import SAE
from pipeline.models.steering import Clamp, Steering
from tests.support.architectures import KINDS, LAYER, SIZES, Kind, hooked, seen_at
from tests.support.models import tiny_sae

CASES = [(name, hook) for name, kind in KINDS.items() for hook in kind.hooks]
TOKENS = torch.randint(3, 97, (2, 21), generator=torch.Generator().manual_seed(4))
CLOSE = {"atol": 2e-4, "rtol": 2e-4}
FEATURES = (2, 7, 11)


class Case:
    """A model of ours and a plain one with the same weights, at a hook."""

    def __init__(self, name: str, hook: str) -> None:
        self.kind: Kind = KINDS[name]
        self.hook, self.plain = hook, self.kind.make()
        self.model = LanguageModel(self.kind.make(), layer=LAYER, hook=hook)  # type: ignore[arg-type]

    def changed(self, change: Any) -> Any:
        return hooked(self.kind, self.plain, LAYER, self.hook, change)

    def reaching(self, tokens_BL: Tensor) -> SAE:
        """An SAE whose activations are of like size at every hook."""
        sae = tiny_sae(width=SIZES["hidden_size"])
        x_BLD = seen_at(self.kind, self.plain, LAYER, self.hook, tokens_BL).detach()
        sae.W_enc_FD = sae.W_enc_FD * (6.0 / x_BLD.norm(dim=-1).mean())
        return sae


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES], scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


@torch.no_grad()
def test_activations_are_those_of_a_hook(case: Case) -> None:
    expected = seen_at(case.kind, case.plain, LAYER, case.hook, TOKENS)
    torch.testing.assert_close(case.model.residuals(TOKENS), expected, **CLOSE)
    assert expected.std() > 0.01


@torch.no_grad()
def test_the_hook_of_every_layer_can_be_watched(case: Case) -> None:
    with ExitStack() as stack:
        last = [stack.enter_context(case.model.cut.watched(layer)) for layer in case.model.layers]
        case.model.logits(TOKENS)
        found = [seen() for seen in last]
    for layer, x_BLD in enumerate(found):
        torch.testing.assert_close(x_BLD, seen_at(case.kind, case.plain, layer, case.hook, TOKENS), **CLOSE)


@torch.no_grad()
def test_logits_with_a_feature_held_are_those_of_a_hook(case: Case) -> None:
    sae, given = case.reaching(TOKENS), 9
    writer = Writer(case.model, Given(given), {"sae": sae}, 1e9)  # type: ignore[arg-type]
    said, held = TOKENS[0, given:].tolist(), Held("sae", FEATURES[0], 6.0)
    [(_, found_BTV)] = writer.held_logits(Opening("", False), said, [(held, 0.5), (held, 1.5)])
    for found_TV, strength in zip(found_BTV, (0.5, 1.5), strict=True):

        def change(x_BLD: Tensor, value: float = 6.0 * strength) -> Tensor:
            f_BL1 = sae.encode(x_BLD[0])[None, :, FEATURES[0], None]
            own_1L1 = (torch.arange(x_BLD.shape[1]) > 0)[None, :, None]
            return x_BLD + own_1L1 * (value - f_BL1) * sae.W_dec_FD[FEATURES[0]]

        with case.changed(change):
            expected_LV = case.plain(TOKENS[:1]).logits[0]
        torch.testing.assert_close(found_TV, expected_LV[given - 1 : -1], **CLOSE)


class Held(NamedTuple):
    """A feature that is held."""

    sae: str
    index: int
    max: float


class Given(NamedTuple):
    """A tokenizer by which every text is the beginning of TOKENS."""

    length: int

    def token_bytes(self, num_ids: int) -> list[bytes]:
        return [b"x"] * num_ids

    def open(self, text: str) -> tuple[list[int], range]:
        return TOKENS[0, : self.length].tolist(), range(1, self.length)


@torch.no_grad()
def test_logits_from_the_activations_are_the_logits(case: Case) -> None:
    expected = case.plain(TOKENS).logits
    torch.testing.assert_close(case.model.logits(TOKENS), expected, **CLOSE)
    torch.testing.assert_close(case.model.logits_from(*case.model.read(TOKENS)), expected, **CLOSE)
    torch.testing.assert_close(case.model.head(case.model.hidden(TOKENS)), expected, **CLOSE)


@torch.no_grad()
def test_steered_logits_are_those_of_a_hook(case: Case) -> None:
    text, sae = TOKENS[0].tolist(), case.reaching(TOKENS)
    steering = Steering([[Clamp(sae, FEATURES[0], 9.0), Clamp(sae, FEATURES[1], 3.0, "add")]], sink_norm=None)

    def change(x_BLD: Tensor) -> Tensor:
        return steering.apply(x_BLD, torch.arange(x_BLD.shape[1])[None]).x_BLD

    with case.changed(change):
        expected_LV = case.plain(TOKENS[:1]).logits[0]
    decoder = make_decoder(case.model)
    cache = decoder.cache(len(text))

    def edit(row: int, x_LD: Tensor, positions_L: Tensor) -> Tensor:
        return steering.apply(x_LD[None], positions_L[None]).x_BLD[0]

    found = [decoder.read([text[:9]], [cache], edit)]
    found += [decoder.read([[token]], [cache], edit) for token in text[9:]]
    torch.testing.assert_close(torch.cat(found), expected_LV[8:], **CLOSE)
    plain_LV = case.plain(TOKENS[:1]).logits[0]
    assert (expected_LV - plain_LV)[8:].abs().amax() > 0.05, "steering matters"


def test_attribution_is_that_of_a_hook(case: Case) -> None:
    sae, (x_LD, beside_LD) = case.reaching(TOKENS), case.model.read(TOKENS).of_row(0)
    exact, nothing_L = ExactModel(case.model, beside_LD), torch.zeros(TOKENS.shape[1], dtype=torch.bool)
    traced = trace(exact, x_LD, nothing_L, Target(5, 8))
    leaf = seen_at(case.kind, case.plain, LAYER, case.hook, TOKENS[:1]).detach().requires_grad_()
    with case.changed(lambda x_BLD: leaf):
        logits_V = case.plain(TOKENS[:1]).logits[0, -1]
    (logits_V[5] - logits_V[8]).backward()
    whole = float((logits_V[5] - logits_V[8]).detach())
    assert traced.value == pytest.approx(whole, abs=1e-3)
    torch.testing.assert_close(traced.gradient_LD, leaf.grad[0], **CLOSE)
    found = attribute(traced, sae)
    token, feature = int(found.pairs.token_K[-1]), int(found.pairs.feature_K[-1])
    slope = float(leaf.grad[0, token] @ sae.W_dec_FD[feature])
    assert float(found.attribution_K[-1]) == pytest.approx(float(found.pairs.value_K[-1]) * slope, abs=2e-3)
    with torch.no_grad(), case.changed(lambda x_BLD: without(sae, x_BLD, feature)):
        without_V = case.plain(TOKENS[:1]).logits[0, -1]
    (effect_A,) = ablate(exact, traced, sae, [feature])
    assert float(effect_A) == pytest.approx(whole - float(without_V[5] - without_V[8]), abs=2e-3)


def without(sae: SAE, x_BLD: Tensor, feature: int) -> Tensor:
    f_BL1 = sae.encode(x_BLD[0])[None, :, feature, None]
    return x_BLD - f_BL1 * sae.W_dec_FD[feature]


def test_what_made_a_feature_fire_is_the_gradient_of_a_hook(case: Case) -> None:
    sae, tokens_L = case.reaching(TOKENS), TOKENS[1]
    x_LD = seen_at(case.kind, case.plain, LAYER, case.hook, tokens_L[None])[0]
    position = len(tokens_L) - 2
    feature = int(sae.encode(x_LD[position][None].detach())[0].argmax())
    embedding = case.plain.get_input_embeddings()(tokens_L)[None].detach().requires_grad_()
    seen: list[Tensor] = []
    with case.changed(lambda x_BLD: seen.append(x_BLD) or x_BLD):
        case.plain(inputs_embeds=embedding)
    (sae.W_enc_FD[feature] @ seen[0][0, position] + sae.b_enc_F[feature]).backward()
    found = fire(ExactModel(case.model), sae, feature, tokens_L, position)
    expected_L = (embedding.grad[0] * embedding.detach()[0]).sum(1)
    torch.testing.assert_close(found.effect_L, expected_L[: position + 1], **CLOSE)


@torch.no_grad()
def test_effects_at_single_tokens_are_those_of_a_hook(case: Case) -> None:
    sae, at = case.reaching(TOKENS), case.model.read(TOKENS)
    places = Places(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([3, 20, 7, 12, 12]))
    x_CD = at.x_BLD[places.text_C, places.position_C].clone()
    features = [2, 5, 7, 11, None]
    expected = []
    for row, (text, position, feature) in enumerate(zip(*map(Tensor.tolist, places), features, strict=True)):
        f = 0.0 if feature is None else float(sae.encode(x_CD[row][None])[0, feature])
        step_D = f * sae.W_dec_FD[feature or 0]
        x_CD[row] -= step_D

        def change(x_BLD: Tensor, position: int = position, step_D: Tensor = step_D) -> Tensor:
            changed = x_BLD.clone()
            changed[0, position] -= step_D
            return changed

        with case.changed(change):
            expected.append(case.plain(TOKENS[text][None]).logits[0, position])
    hidden_CD = make_later_layers(case.model).hidden(at.x_BLD, places, x_CD, at.beside_BLD)
    torch.testing.assert_close(case.model.head(hidden_CD), torch.stack(expected), **CLOSE)


@pytest.fixture(params=KINDS, ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def test_the_stream_before_a_layer_is_the_one_after_the_layer_before(kind: Kind) -> None:
    before = LanguageModel(kind.make(), layer=2, hook="resid_pre").residuals(TOKENS)
    after = LanguageModel(kind.make(), layer=1, hook="resid_post").residuals(TOKENS)
    torch.testing.assert_close(before, after, atol=0, rtol=0)


@torch.no_grad()
def test_the_stream_before_the_first_layer(kind: Kind) -> None:
    model, plain = LanguageModel(kind.make(), layer=0, hook="resid_pre"), kind.make()
    expected = seen_at(kind, plain, 0, "resid_pre", TOKENS)
    torch.testing.assert_close(model.residuals(TOKENS), expected)
    torch.testing.assert_close(model.logits_from(model.residuals(TOKENS)), plain(TOKENS).logits, **CLOSE)
    decoder = make_decoder(model)
    doubled = decoder.read([TOKENS[0].tolist()], [decoder.cache(30)], lambda row, x_LD, positions_L: 2 * x_LD)
    with hooked(kind, plain, 0, "resid_pre", lambda x_BLD: 2 * x_BLD):
        torch.testing.assert_close(doubled, plain(TOKENS[:1]).logits[:, -1], **CLOSE)


@torch.no_grad()
def test_promoted_tokens_follow_the_final_norm(kind: Kind) -> None:
    """A step along a direction changes logits as the norm, whose division is held, lets it through."""
    model, plain = LanguageModel(kind.make(), layer=3), kind.make()
    scale_D, W_U_VD = model.unembedding()
    x_BLD = model.residuals(TOKENS)
    centred = x_BLD - x_BLD.mean(-1, keepdim=True) if "LayerNorm" in type(model.parts.norm).__name__ else x_BLD
    logits = (centred / centred.square().mean(-1, keepdim=True).add(1e-6).sqrt() * scale_D) @ W_U_VD.T
    bias = getattr(model.parts.norm, "bias", None)
    if bias is not None:
        logits = logits + model.parts.head.weight @ bias
    cap = getattr(plain.config, "final_logit_softcapping", None)
    logits = logits if cap is None else torch.tanh(logits / cap) * cap
    torch.testing.assert_close(logits, plain(TOKENS).logits, atol=0.01, rtol=0.01)


def test_a_text_is_the_same_in_any_company(kind: Kind) -> None:
    model = LanguageModel(kind.make(), layer=LAYER)
    decoder, sae = make_decoder(model), tiny_sae(width=SIZES["hidden_size"])
    rows = [
        Row(TOKENS[0, :5].tolist(), [Clamp(sae, 3, 4.0)], Sampling(max_new_tokens=6)),
        Row(TOKENS[1, :8].tolist(), (), Sampling(temperature=1.0, max_new_tokens=4, seed=3)),
        Row(TOKENS[0, :5].tolist(), (), Sampling(max_new_tokens=6)),
    ]

    def written(asked: list[Row]) -> list[list[tuple[int, float | None]]]:
        texts: list[list[tuple[int, float | None]]] = [[] for _ in asked]
        for step in generate(decoder, asked, sink_norm=None):
            for event in step:
                if not isinstance(event, End):
                    texts[event.row].append((event.token, event.probability))
        return texts

    assert written(rows) == [written([row])[0] for row in rows]


@torch.no_grad()
def test_neurons_are_the_inputs_of_the_last_matrix(kind: Kind) -> None:
    model, plain = LanguageModel(kind.make(), layer=1), kind.make()
    names = {"mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h"}
    block = plain.get_submodule(kind.layers)[1]
    last = next(module for name, module in block.named_modules() if name in names)
    expected: list[Tensor] = []
    last.register_forward_hook(lambda module, args, output: expected.append(args[0]))
    plain(TOKENS)
    found: dict[int, Tensor] = {}
    x_BLD = model.residuals_and_neurons(TOKENS, lambda layer, neurons: found.update({layer: neurons}))
    torch.testing.assert_close(found[1], expected[0], **CLOSE)
    torch.testing.assert_close(x_BLD, model.residuals(TOKENS))
    assert model.neurons_per_layer() == found[1].shape[-1]
    assert sorted(found) == [0, 1]


@torch.no_grad()
def test_sharded_weights_are_read(kind: Kind, tmp_path: Path) -> None:
    plain = kind.make()
    plain.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    model = LanguageModel.load(tmp_path, layer=LAYER, dtype="float32")
    torch.testing.assert_close(model.logits(TOKENS), plain(TOKENS).logits)
    part = LanguageModel.load(tmp_path, layer=1, hook="attn", dtype="float32", only_until_layer=True)
    assert len(part.layers) == 2
    torch.testing.assert_close(part.residuals(TOKENS), seen_at(kind, plain, 1, "attn", TOKENS), **CLOSE)


def test_effects_can_be_measured_on_all(kind: Kind) -> None:
    assert effects_obstacle(LanguageModel(kind.make(), layer=LAYER)) == ""


def test_a_hook_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="GPTNeoXLayer has no stream between attention and MLP"):
        LanguageModel(KINDS["pythia"].make(), layer=1, hook="resid_mid")


@pytest.mark.parametrize("hook", ["resid_mid", "attn", "mlp"])
def test_hooks_in_bfloat16(hook: str) -> None:
    """With the fused layers, where they fit: their error against float32 is that of rounding."""
    kind = KINDS["llama"]
    exact = kind.make()
    for parameter in exact.parameters():
        parameter.data = parameter.data.bfloat16().float()
    model = LanguageModel(kind.make().bfloat16(), layer=LAYER, hook=hook)  # type: ignore[arg-type]
    at, expected = model.read(TOKENS), seen_at(kind, exact, LAYER, hook, TOKENS)
    assert (at.x_BLD.float() - expected).norm() < 0.03 * expected.norm()
    whole = exact(TOKENS).logits
    assert (model.logits_from(*at).float() - whole).norm() < 0.05 * whole.norm()
    assert (model.head(model.hidden_from(*at)).float() - whole).norm() < 0.05 * whole.norm()
