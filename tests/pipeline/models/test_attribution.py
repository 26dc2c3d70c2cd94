"""Attribution and ablation against finite differences, against hooks on transformers, and where sums are exact."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from data.layout import StorePaths
from pipeline.fetching.local import model_folder
from pipeline.models import attribution
from pipeline.models.attribution import (
    LEAST_CHANGE,
    Target,
    Trace,
    ablate,
    attribute,
    changes,
    fire,
    moved,
    predictions,
    trace,
)
from pipeline.models.errors import ModelError
from pipeline.models.exact import ExactModel
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import load_recipe
from pipeline.stages import fetch
from tests.benchmarks.bench_generate import random_sae
from tests.support.models import WIDTH, tiny_llama, tiny_sae

TOKENS = torch.tensor([256, 11, 42, 7, 99, 3, 42, 8])
LEFT_OUT = torch.tensor([True, False, False, True, False, False, False, False])
TARGETS = {
    "a token": Target(17),
    "a token minus another": Target(17, minus=20),
    "in the middle": Target(17, minus=20, position=5),
}
KINDS: dict[str, Callable[[], SAE]] = {
    "relu": tiny_sae,
    "jumprelu": lambda: tiny_sae(nonlinearity="jumprelu"),
    "topk": lambda: tiny_sae(nonlinearity="topk"),
}


def tiny() -> tuple[LanguageModel, ExactModel, Tensor]:
    """A model and its stream on TOKENS, in float64: transformers' own norms would compute in float32 all the same."""
    llama = tiny_llama()
    for layer in llama.model.layers:
        layer.input_layernorm, layer.post_attention_layernorm = (torch.nn.RMSNorm(WIDTH, eps=1e-6) for _ in range(2))
    llama.model.norm = torch.nn.RMSNorm(WIDTH, eps=1e-6)
    language_model = LanguageModel(llama.double(), layer=1)
    return language_model, ExactModel(language_model), language_model.residuals(TOKENS[None])[0]


def traced(target: Target = TARGETS["a token minus another"]) -> tuple[ExactModel, Trace]:
    _, model, x_LD = tiny()
    return model, trace(model, x_LD, LEFT_OUT, target)


def value_at(model: ExactModel, x_LD: Tensor, target: Target) -> float:
    """y as the definition says."""
    with torch.no_grad():
        logits = model.logits(model.hidden_from(x_LD[None])[0], range(model.vocab_size))
    logits = logits[-1 if target.position is None else target.position]
    return float(logits[target.token] - (0 if target.minus is None else logits[target.minus]))


def hooked_logits(language_model: LanguageModel, sae: SAE, feature: int, positions: Sequence[int]) -> Tensor:
    """Logits [L, V] of transformers, whole, with f_i(x) d_i taken off at some positions by a hook."""

    def hook(module: object, inputs: object, output: Tensor) -> Tensor:
        changed = output.clone()
        for position in positions:
            f = sae.encode(output[0, position][None].float())[0, feature]
            changed[0, position] -= f * sae.W_dec_FD[feature]
        return changed

    handle = language_model.layers[1].register_forward_hook(hook)
    logits = language_model.logits(TOKENS[None])[0]
    handle.remove()
    return logits


COUNTED = [position for position in range(len(TOKENS)) if not LEFT_OUT[position]]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_attribution_equals_finite_differences(target: Target) -> None:
    _, model, x_LD = tiny()
    sae, step = tiny_sae(), 1e-5
    found = attribute(trace(model, x_LD, LEFT_OUT, target), sae)
    last = len(TOKENS) - 1 if target.position is None else target.position
    expected_LF = sae.encode(x_LD.float()) * ~LEFT_OUT[:, None]
    expected_LF[last + 1 :] = 0
    assert len(found.attribution_K) == int((expected_LF > 0).sum()) > 20
    for token, feature, f, value in zip(*found.pairs, found.attribution_K, strict=True):
        assert float(f) == pytest.approx(float(expected_LF[token, feature]), rel=1e-5)
        direction_LD = torch.zeros_like(x_LD)
        direction_LD[token] = f * sae.W_dec_FD[feature]
        ends = [value_at(model, x_LD + sign * step * direction_LD, target) for sign in (1, -1)]
        assert float(value) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_attributions_and_the_error_sum_to_the_linear_part(kind: str) -> None:
    """At every token x is the sum of the features, the bias and the error, and the gradient is linear."""
    sae, (_, one) = KINDS[kind](), traced()
    found = attribute(one, sae)
    kept = ~one.left_out_L
    x_ND, gradient_ND = one.x_LD[kept], one.gradient_LD[kept]
    rest_ND = x_ND - sae.reconstruct(x_ND.float()) + sae.b_dec_D
    total = found.attribution_K.sum() + (rest_ND * gradient_ND).sum()
    torch.testing.assert_close(total, (x_ND * gradient_ND).sum(), atol=1e-4, rtol=1e-5)


def test_pairs_in_parts_equal_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, one = traced()
    whole = attribute(one, tiny_sae())
    monkeypatch.setattr(attribution, "PAIRS_AT_ONCE", 7)
    torch.testing.assert_close(attribute(one, tiny_sae()).attribution_K, whole.attribution_K)


def test_a_prompt_on_which_nothing_is_active_has_no_attributions() -> None:
    _, one = traced()
    sae = tiny_sae()
    sae.threshold_F.fill_(1e9)
    assert len(attribute(one, sae).attribution_K) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_ablation_equals_a_hook_on_transformers(kind: str, target: Target) -> None:
    language_model, model, x_LD = tiny()
    sae, features = KINDS[kind](), list(range(24))
    one = trace(model, x_LD, LEFT_OUT, target)
    found = torch.cat(list(ablate(model, one, sae, features)))
    alone = torch.cat(list(ablate(model, one, sae, features, at=4)))
    for positions, effects in ((COUNTED, found), ([4], alone)):
        for feature in features:
            logits = hooked_logits(language_model, sae, feature, positions)[
                -1 if target.position is None else target.position
            ]
            without = logits[target.token] - (0 if target.minus is None else logits[target.minus])
            assert float(effects[feature]) == pytest.approx(one.value - float(without), abs=1e-5)
    assert found.abs().max() > 0.1


def test_ablations_in_batches_equal_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, one = traced()
    (whole,) = ablate(model, one, tiny_sae(), range(24))
    monkeypatch.setattr(attribution, "TOKENS_AT_ONCE", 5 * len(TOKENS))
    parts = list(ablate(model, one, tiny_sae(), range(24)))
    assert [len(part) for part in parts] == [5, 5, 5, 5, 4]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=1e-4)


def test_the_effect_of_a_small_feature_is_its_attribution() -> None:
    model, one = traced()
    sae = tiny_sae()
    small = SAE(sae.header, 1e-4 * sae.W_enc_FD, 1e-4 * sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D, sae.threshold_F)
    found = attribute(one, small)
    total_F = torch.zeros(24, dtype=torch.float64).index_add(0, found.pairs.feature_K, found.attribution_K)
    effect_F = torch.cat(list(ablate(model, one, small, range(24))))
    torch.testing.assert_close(effect_F, total_F, atol=1e-7, rtol=5e-3)
    assert total_F.abs().max() > 1e-5


def test_what_comes_after_the_target_does_not_count() -> None:
    _, model, x_LD = tiny()
    whole, cut = (trace(model, x_LD[:n], LEFT_OUT[:n], Target(17, position=4)) for n in (len(TOKENS), 5))
    assert len(whole.x_LD) == 5
    assert whole.value == pytest.approx(cut.value, rel=1e-12)
    torch.testing.assert_close(whole.gradient_LD, cut.gradient_LD)


def test_predictions_are_the_most_probable_next_tokens() -> None:
    language_model, model, x_LD = tiny()
    expected = language_model.logits(TOKENS[None])[0, 5].log_softmax(0).topk(4)
    found = predictions(model, x_LD, 5, 4)
    assert [one.token for one in found] == expected.indices.tolist()
    assert [one.log_probability for one in found] == pytest.approx(expected.values.tolist(), rel=1e-6)
    assert len(predictions(model, x_LD, 5, 10_000)) == model.vocab_size


@pytest.mark.parametrize("kind", KINDS)
def test_what_made_it_fire_equals_finite_differences(kind: str) -> None:
    _, model, x_LD = tiny()
    sae, step = KINDS[kind](), 1e-5
    embedding_LD = model.embed(TOKENS[None])[0]
    for position in (1, 4, 7):
        active_F = sae.encode(x_LD[position][None].float())[0]
        feature = int(active_F.argmax())
        weight_D, bias = sae.W_enc_FD[feature].double(), float(sae.b_enc_F[feature])
        found = fire(model, sae, feature, TOKENS, position)
        assert found.activation == pytest.approx(float(active_F[feature]), rel=1e-4)
        assert len(found.effect_L) == position + 1
        for place in range(position + 1):
            ends = []
            for sign in (1, -1):
                changed_LD = embedding_LD.clone()
                changed_LD[place] *= 1 + sign * step
                with torch.no_grad():
                    ends.append(float(model.residuals_from(changed_LD[None])[0, position] @ weight_D) + bias)
            assert float(found.effect_L[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-6)


def test_a_silent_feature_was_made_to_fire_by_nothing() -> None:
    _, model, x_LD = tiny()
    sae = tiny_sae()
    silent = int(sae.encode(x_LD[4][None].float())[0].argmin())
    with pytest.raises(ModelError, match="inactive"):
        fire(model, sae, silent, TOKENS, 4)


@pytest.mark.parametrize("positions", [range(8), range(2, 6), range(7, 8)])
def test_changes_equal_a_hook_on_transformers(positions: range, monkeypatch: pytest.MonkeyPatch) -> None:
    language_model, model, x_LD = tiny()
    sae, feature = tiny_sae(), 6
    plain = language_model.logits(TOKENS[None])[0].log_softmax(1)
    without = hooked_logits(language_model, sae, feature, COUNTED).log_softmax(1)
    kl = (plain.exp() * (plain - without)).sum(1)
    following = [float((plain - without)[p, TOKENS[p + 1]]) if p + 1 < len(TOKENS) else 0.0 for p in positions]
    monkeypatch.setattr(attribution, "LOGITS_AT_ONCE", 3 * 2 * model.vocab_size)
    found = changes(model, sae, feature, x_LD, LEFT_OUT, TOKENS, positions)
    assert found.kl_N.tolist() == pytest.approx([float(kl[p]) for p in positions], abs=1e-6)
    assert found.next_N.tolist() == pytest.approx(following, abs=1e-5)
    assert found.kl_N.max() > 1e-3


def test_raised_and_lowered_tokens_are_those_of_a_full_search() -> None:
    language_model, model, x_LD = tiny()
    sae = tiny_sae()
    feature = int(sae.encode(x_LD[5][None].float())[0].argmax())
    plain = language_model.logits(TOKENS[None])[0, 5].log_softmax(0)
    without = hooked_logits(language_model, sae, feature, [5])[5].log_softmax(0)
    change = plain.exp() - without.exp()
    changed = [v for v in range(300) if abs(float(change[v])) >= LEAST_CHANGE]
    by_change = sorted(changed, key=lambda v: -float(change[v]))
    kl, raised, lowered = moved(model, sae, feature, x_LD, LEFT_OUT, 5, 6)
    assert kl == pytest.approx(float((plain.exp() * (plain - without)).sum()), abs=1e-6)
    assert [one.token for one in raised] == [v for v in by_change if change[v] > 0][:6]
    assert [one.token for one in lowered] == [v for v in reversed(by_change) if change[v] < 0][:6]
    for one in [*raised, *lowered]:
        assert one.log_probability == pytest.approx(float(plain[one.token]), abs=1e-6)
        assert one.change == pytest.approx(float(change[one.token]), abs=1e-6)


def test_what_is_not_there_is_refused() -> None:
    _, model, x_LD = tiny()
    sae = tiny_sae()
    for target in (Target(300), Target(-1), Target(3, minus=300), Target(3, minus=3), Target(3, position=8)):
        with pytest.raises(ModelError):
            trace(model, x_LD, LEFT_OUT, target)
    one = trace(model, x_LD, LEFT_OUT, Target(3))
    for refused in (
        lambda: list(ablate(model, one, sae, [24])),
        lambda: fire(model, sae, -1, TOKENS, 3),
        lambda: fire(model, sae, 1, TOKENS, 8),
        lambda: moved(model, sae, 24, x_LD, LEFT_OUT, 3, 5),
        lambda: changes(model, sae, 24, x_LD, LEFT_OUT, TOKENS, range(3)),
    ):
        with pytest.raises(ModelError):
            refused()


@pytest.mark.sample
def test_the_sample_in_bfloat16_attributes_as_its_float32_copy_is_ablated(sample_store: StorePaths) -> None:
    """The packed model on real text: attributions follow the slope that a hook on a float32 copy measures."""
    recipe = load_recipe("sample")
    paths = sample_store.run(recipe.name)
    folder = model_folder(fetch.run(recipe, paths), paths)
    packed = LanguageModel.load(folder, layer=recipe.model.layer)
    tokenizer, sae = Tokenizer.load(folder), random_sae(packed)
    tokens_L = torch.tensor([tokenizer.bos_id, *tokenizer.encode("The capital of France is")])
    x_LD = packed.residuals(tokens_L[None])[0]
    left_out_L = x_LD.float().norm(dim=1) > 1500
    paris, rome = (tokenizer.encode(name)[0] for name in (" Paris", " Rome"))
    model = ExactModel(packed)
    assert any(one.token == paris for one in predictions(model, x_LD, len(tokens_L) - 1, 20))
    one = trace(model, x_LD, left_out_L, Target(paris, rome))
    found = attribute(one, sae)
    assert len(found.attribution_K) > 20
    strongest = found.attribution_K.abs().argsort(descending=True)[:10]
    features = found.pairs.feature_K[strongest].unique().tolist()
    total_F = torch.zeros(sae.num_features).index_add(0, found.pairs.feature_K, found.attribution_K)
    plain = LanguageModel.load(folder, layer=recipe.model.layer, dtype="float32", fused=False)
    expected = [slope_by_hook(plain, sae, feature, tokens_L, x_LD, left_out_L, (paris, rome)) for feature in features]
    torch.testing.assert_close(total_F[features], torch.tensor(expected), rtol=0.02, atol=2e-3)
    effects = torch.cat(list(ablate(model, one, sae, features)))
    assert np.corrcoef(effects, total_F[features])[0, 1] > 0.8


def slope_by_hook(
    plain: LanguageModel,
    sae: SAE,
    feature: int,
    tokens_L: Tensor,
    x_LD: Tensor,
    left_out_L: Tensor,
    pair: Sequence[int],
) -> float:
    """Slope of y with a feature's share in the stream, by whole forward passes with a hook that sets the stream."""
    acts_L = sae.encode(x_LD.float())[:, feature] * ~left_out_L
    direction_LD, step = acts_L[:, None] * sae.W_dec_FD[feature], 0.02
    ends = []
    for sign in (1, -1):
        changed_BLD = (x_LD.float() + sign * step * direction_LD)[None]
        handle = plain.layers[plain.layer].register_forward_hook(lambda *_, changed=changed_BLD: changed)
        logits_V = plain.logits(tokens_L[None])[0, -1]
        handle.remove()
        ends.append(float(logits_V[pair[0]] - logits_V[pair[1]]))
    return (ends[0] - ends[1]) / (2 * step)
