"""Writing: against transformers' own generation, with unequal rows, and as a function of its seed."""

import copy
import gc
import weakref
from collections import Counter

import pytest
import torch

from pipeline.models.decoder import Decoder
from pipeline.models.errors import ModelError
from pipeline.models.generate import Detokeniser, End, ReadToken, Row, Sampling, draw, generate
from pipeline.models.language_model import LanguageModel
from pipeline.models.steering import Clamp, Mode
from tests.support.models import reference_logits, tiny_language_model, tiny_llama, tiny_sae

BOS = 256
SHORT, LONG = [BOS, 5, 9], [BOS, 1, 2, 3, 4, 50, 60, 70]


def decoder(stop: bool = False) -> Decoder:
    made = Decoder(tiny_language_model())
    if not stop:
        made.stop_ids = frozenset()
    return made


def write(rows: list[Row], on: Decoder | None = None) -> tuple[list[list[int]], dict[int, str], list[ReadToken]]:
    """Tokens of every row, why each ended, and all positions."""
    events = [event for step in generate(on or decoder(), rows, sink_norm=1e9) for event in step]
    positions = [event for event in events if isinstance(event, ReadToken)]
    tokens = [[p.token for p in positions if p.row == row] for row in range(len(rows))]
    return tokens, {event.row: event.reason for event in events if isinstance(event, End)}, positions


def greedy(prompt: list[int], steps: int) -> list[int]:
    """Tokens that transformers writes, without a cache."""
    model, tokens = tiny_llama(), list(prompt)
    with torch.no_grad():
        for _ in range(steps):
            tokens.append(int(model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].argmax()))
    return tokens


def hooked_greedy(prompt: list[int], clamps: list[Clamp], steps: int, start: int) -> list[int]:
    """Tokens that transformers writes without a cache, features steered from position `start` on by a hook."""
    tokens = list(prompt)
    for _ in range(steps):
        tokens.append(int(reference_logits(tokens, clamps, 1e9, [], start)[-1].argmax()))
    return tokens


def tiny_sae_activations(tokens: list[int], feature: int) -> torch.Tensor:
    """One feature on every token, 0 on the opening one."""
    x_LD = tiny_language_model().residuals(torch.tensor([tokens]))[0]
    return tiny_sae().encode(x_LD)[:, feature].index_fill(0, torch.tensor(0), 0.0)


def test_unequal_rows_write_what_transformers_writes_for_each_alone() -> None:
    rows = [Row(SHORT, (), Sampling(max_new_tokens=12)), Row(LONG, (), Sampling(max_new_tokens=5))]
    tokens, ends, _ = write(rows)
    assert tokens == [greedy(SHORT, 12), greedy(LONG, 5)]
    assert ends == {0: "length", 1: "length"}


def test_strength_off_equals_the_baseline_token_for_token() -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, max_new_tokens=20, seed=3)
    off = [Clamp(tiny_sae(), 4, None)]
    (baseline, same), _, positions = write([Row(LONG, (), sampling), Row(LONG, off, sampling)])
    assert baseline == same
    first, second = ([p.probability for p in positions if p.row == row] for row in (0, 1))
    assert first == second


def test_the_baseline_is_the_same_before_beside_and_after_a_steered_request() -> None:
    sampling, clamps, on = Sampling(temperature=0.8, max_new_tokens=16, seed=7), [Clamp(tiny_sae(), 4, 9.0)], decoder()
    before = write([Row(LONG, (), sampling)], on)[0][0]
    beside, steered = write([Row(LONG, (), sampling), Row(LONG, clamps, sampling)], on)[0]
    after = write([Row(LONG, (), sampling)], on)[0][0]
    assert before == beside == after
    assert steered != before


def test_a_mixed_batch_equals_each_row_alone() -> None:
    sae = tiny_sae()
    rows = [
        Row(SHORT, [Clamp(sae, 1, 5.0)], Sampling(1.0, 0.95, 9, 1)),
        Row(LONG, [Clamp(sae, 2, 0.0), Clamp(tiny_sae(seed=5), 3, 4.0)], Sampling(0.0, 1.0, 14, 2)),
        Row(LONG, (), Sampling(0.7, 0.5, 3, 3)),
    ]
    assert write(rows)[0] == [write([row])[0][0] for row in rows]


def test_rows_that_join_are_written_as_each_alone() -> None:
    """Some join while others are written, one when most have ended."""
    sae, other, on = tiny_sae(), tiny_sae(seed=5), decoder()
    rows = [
        Row(SHORT, [Clamp(sae, 1, 5.0)], Sampling(1.0, 0.95, 4, 1)),
        Row(LONG, (), Sampling(0.7, 0.5, 4, 3)),
        Row(LONG, [Clamp(other, 3, 4.0), Clamp(sae, 2, 0.0)], Sampling(0.0, 1.0, 30, 2), "written"),
        Row(SHORT, [Clamp(other, 3, None)], Sampling(1.0, 1.0, 3, 4)),
        Row(SHORT, [Clamp(sae, 6, 2.0, "add")], Sampling(0.9, 1.0, 6, 5)),
    ]
    joining = {3: rows[2:4], 5: [], 20: rows[4:]}
    asked: list[int] = []

    def join(writing: int) -> list[Row]:
        asked.append(writing)
        return joining.get(len(asked), [])

    events = [event for step in generate(on, rows[:2], sink_norm=1e9, joining=join) for event in step]
    positions = [event for event in events if isinstance(event, ReadToken)]
    assert asked[:4] == [2, 2, 2, 4]
    for number, row in enumerate(rows):
        (tokens,), _, alone = write([row], on)
        mine = [position for position in positions if position.row == number]
        assert [position.token for position in mine] == tokens
        assert [position._replace(row=0) for position in mine] == alone
    ended = {event.row: event.reason for event in events if isinstance(event, End)}
    assert ended == dict.fromkeys(range(5), "length")


def test_the_scope_stays_with_its_row_when_others_leave() -> None:
    clamps = [Clamp(tiny_sae(), 4, 6.0, "add")]
    rows = [
        Row(SHORT, (), Sampling(max_new_tokens=2)),
        Row(LONG, clamps, Sampling(max_new_tokens=9), "written"),
        Row(LONG, clamps, Sampling(max_new_tokens=9), "all"),
    ]
    tokens, _, positions = write(rows)
    assert tokens[1:] == [hooked_greedy(LONG, clamps, 9, start) for start in (len(LONG), 0)]
    measured = [[p.activations[0] for p in positions if p.row == row][len(LONG) :] for row in (1, 2)]
    assert all(value >= 6.0 for row in measured for value in row)


def test_a_row_that_joins_ends_as_it_would_alone() -> None:
    """At its first token: by the model, or because its output is not finite."""
    on, late = decoder(), Row(LONG, (), Sampling(max_new_tokens=6))
    on.stop_ids = frozenset({greedy(LONG, 1)[-1]})
    broken = Row(LONG, [Clamp(tiny_sae(), 1, 3e38) for _ in range(12)], Sampling(max_new_tokens=6))
    first, asked = Row(SHORT, (), Sampling(max_new_tokens=8)), list[int]()

    def join(writing: int) -> list[Row]:
        asked.append(writing)
        return [late, broken] if len(asked) == 1 else []

    events = [event for step in generate(on, [first], sink_norm=1e9, joining=join) for event in step]
    for number, row in enumerate((first, late, broken)):
        (tokens,), ends, _ = write([row], on)
        mine = [event for event in events if event.row == number]
        assert [event.token for event in mine if isinstance(event, ReadToken)] == tokens
        assert [event.reason for event in mine if isinstance(event, End)] == [ends[0]]
    assert {event.reason for event in events if isinstance(event, End) and event.row > 0} == {"stop", "broken"}


def test_what_has_ended_is_not_kept_while_others_are_written() -> None:
    sae = tiny_sae(seed=9, nonlinearity="topk")
    gone = weakref.ref(sae)
    rows = [Row(SHORT, [Clamp(sae, 1, 5.0)], Sampling(max_new_tokens=1)), Row(LONG, (), Sampling(max_new_tokens=8))]
    writing = generate(decoder(), rows, sink_norm=1e9)
    del sae, rows
    for step in writing:
        if any(isinstance(event, End) for event in step):
            break
    next(writing)
    gc.collect()
    assert gone() is None
    assert [event.row for step in writing for event in step] == [1] * 7


def test_the_same_seed_writes_the_same_and_another_one_does_not() -> None:
    texts = [write([Row(LONG, (), Sampling(1.0, 1.0, 24, seed))])[0][0] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_feature_held_at_zero_measures_zero_at_every_position() -> None:
    sae = tiny_sae()
    rows = [Row(LONG, [Clamp(sae, f, None) for f in range(8)]), Row(LONG, [Clamp(sae, f, 0.0) for f in range(8)])]
    positions = write(rows)[2]
    assert any(value > 0 for p in positions if p.row == 0 for value in p.activations)
    assert all(value == 0 for p in positions if p.row == 1 for value in p.activations)


def test_an_ablated_feature_measures_zero_and_writes_as_one_held_at_zero() -> None:
    sae, sampling = tiny_sae(), Sampling(temperature=1.0, max_new_tokens=12, seed=5)
    held = [Clamp(sae, f, 0.0) for f in range(8)]
    ablated = [Clamp(sae, f, 0.0, "ablate") for f in range(8)]
    (first, second), _, positions = write([Row(LONG, held, sampling), Row(LONG, ablated, sampling)])
    assert first == second
    assert all(value == 0 for p in positions for value in p.activations)


@pytest.mark.parametrize("mode", ["clamp", "add", "ablate"])
def test_a_row_steered_where_it_writes_equals_a_hook_on_transformers(mode: Mode) -> None:
    clamps = [Clamp(tiny_sae(), f, 0.0 if mode == "ablate" else 6.0, mode) for f in (1, 4, 7)]
    rows = [Row(LONG, clamps, Sampling(max_new_tokens=9), scope) for scope in ("written", "all")]
    tokens, _, positions = write(rows)
    assert tokens[0] == hooked_greedy(LONG, clamps, 9, start=len(LONG))
    assert tokens[1] == hooked_greedy(LONG, clamps, 9, start=1)
    plain = [tiny_sae_activations(LONG, f) for f in (1, 4, 7)]
    measured = [p.activations for p in positions if p.row == 0][: len(LONG)]
    torch.testing.assert_close(torch.tensor(measured).T, torch.stack(plain), atol=1e-4, rtol=1e-4)


def test_steering_where_it_writes_leaves_the_first_token_as_it_was() -> None:
    clamps = [Clamp(tiny_sae(), 4, 30.0)]
    sampling = Sampling(temperature=1.0, max_new_tokens=12, seed=2)
    baseline, written = write([Row(LONG, (), sampling), Row(LONG, clamps, sampling, "written")])[0]
    assert baseline[: len(LONG) + 1] == written[: len(LONG) + 1]
    assert baseline != written


def test_positions_carry_probabilities_and_the_opening_token_is_left_out() -> None:
    tokens, _, positions = write([Row(SHORT, [Clamp(tiny_sae(), 1, 3.0)], Sampling(max_new_tokens=4))])
    assert [p.left_out for p in positions] == [True, *[False] * 6]
    assert [p.activations for p in positions] == [(0.0,), *[(3.0,)] * 6]
    assert [p.probability is None for p in positions] == [True] * 3 + [False] * 4
    assert all(p.probability and 0 < p.probability <= 1 for p in positions[3:])
    assert len(tokens[0]) == 7


def test_a_row_ends_at_a_stop_token_and_the_others_go_on() -> None:
    on, plain = decoder(), greedy(LONG, 10)[len(LONG) :]
    place = next(i for i, token in enumerate(plain) if i and token not in plain[:i])
    other = greedy(SHORT, 10)[len(SHORT) :]
    on.stop_ids = frozenset({plain[place]})
    tokens, ends, _ = write(
        [Row(LONG, (), Sampling(max_new_tokens=10)), Row(SHORT, (), Sampling(max_new_tokens=10))], on
    )
    assert tokens[0] == LONG + plain[:place]
    assert ends[0] == "stop"
    assert (tokens[1] == SHORT + other) == (plain[place] not in other)


def test_stop_ids_are_those_of_the_model() -> None:
    assert decoder(stop=True).stop_ids == {257}


def test_a_cancelled_row_leaves_and_the_others_stay_as_they_were() -> None:
    rows = [Row(LONG, (), Sampling(max_new_tokens=10)), Row(SHORT, (), Sampling(max_new_tokens=10))]
    steps = [0]

    def cancelled(row: int) -> bool:
        steps[0] += 1
        return row == 0 and steps[0] > 6

    events = [e for step in generate(decoder(), rows, sink_norm=1e9, cancelled=cancelled) for e in step]
    assert End(0, "cancelled") in events
    written = [e.token for e in events if isinstance(e, ReadToken) and e.row == 1]
    assert written == greedy(SHORT, 10)
    assert len([e for e in events if isinstance(e, ReadToken) and e.row == 0]) < len(LONG) + 10


def test_a_broken_row_ends_alone() -> None:
    """A value beyond what floats hold breaks that row's output, and nothing else."""
    rows = [Row(SHORT, [Clamp(tiny_sae(), 1, 3e38) for _ in range(12)]), Row(SHORT)]
    tokens, ends, _ = write(rows)
    assert ends[0] == "broken"
    assert tokens[1] == greedy(SHORT, 64)


def test_unfit_prompts_are_refused() -> None:
    with pytest.raises(ModelError, match="empty"):
        write([Row([])])
    with pytest.raises(ModelError, match="256"):
        write([Row(LONG, (), Sampling(max_new_tokens=250))])


def test_draws_follow_the_distribution_within_the_nucleus() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).repeat_interleave(1)
    generator = torch.Generator().manual_seed(0)
    drawn = Counter(draw(logits, Sampling(1.0, 0.9), generator)[0] for _ in range(4000))
    assert set(drawn) == {0, 1, 2}
    for token, share in {0: 0.5 / 0.95, 1: 0.3 / 0.95, 2: 0.15 / 0.95}.items():
        assert drawn[token] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.999, 1.0])
def test_a_large_vocabulary_draws_as_if_all_of_it_were_sorted(top_p: float) -> None:
    logits = 0.3 * torch.randn(1000, generator=torch.Generator().manual_seed(0))
    probability, order = torch.softmax(logits.double(), 0).sort(descending=True)
    upto = probability.cumsum(0)
    size = min(int((upto < top_p).sum()) + 1, 1000)
    for seed in range(20):
        share = float(torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        place = min(int((upto[:size] <= share * upto[size - 1]).sum()), size - 1)
        found = draw(logits, Sampling(1.0, top_p), torch.Generator().manual_seed(seed))[0]
        assert found == int(order[place])


def test_split_characters_come_out_whole() -> None:
    pieces = [
        "né ".encode()[:2],
        "né ".encode()[2:],
        "🦊".encode()[:1],
        "🦊".encode()[1:3],
        "🦊".encode()[3:],
        b"\xff",
        b"a",
    ]
    detokeniser = Detokeniser(pieces)
    assert [detokeniser.feed(token) for token in range(7)] == ["n", "é ", "", "", "🦊", "\\xff", "a"]


def test_only_llamas_are_run_as_llamas() -> None:
    model = tiny_language_model()
    model.model.__class__ = type("OtherForCausalLM", (type(model.model),), {})
    with pytest.raises(ModelError, match="OtherForCausalLM"):
        Decoder(model)


def test_bfloat16_errs_no_more_than_transformers_does() -> None:
    """The packed matrices of the fast path, both against the same weights in float32."""
    rounded = tiny_llama().to(torch.bfloat16)
    with torch.no_grad():
        plain = rounded(input_ids=torch.tensor([LONG]), use_cache=False).logits[0, -1].float()
        exact = copy.deepcopy(rounded).float()(input_ids=torch.tensor([LONG]), use_cache=False).logits[0, -1]
    on = Decoder(LanguageModel(rounded, layer=1))
    found = on.read([LONG], [on.cache(len(LONG))], lambda row, x_LD, positions_L: x_LD)
    assert found is not None
    assert (found[0] - exact).norm() < 1.5 * (plain - exact).norm()
