"""A served judge against servers on loopback: a real one, and one that fails in every way that servers do."""

import math
from pathlib import Path
from typing import Any

import pytest

from data.errors import JudgeError
from pipeline.judges import failures, proposing, served
from pipeline.judges.bills import forget_bills
from pipeline.judges.cache import AnswerCache
from pipeline.judges.proposing import ProposalCache
from pipeline.judges.protocol import Question
from pipeline.judges.served import ServedJudge
from pipeline.judges.tasks import SPECIFICITY
from pipeline.recipe.judging import JudgeConfig
from tests.support.openai_server import Body, Reply, completion, refusal, scripted_server
from tests.support.processes import held_port

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    forget_bills()


def make_judge(base_url: str, **config: Any) -> tuple[ServedJudge, list[float]]:
    """A judge whose pauses are written down instead of waited for."""
    judge = ServedJudge.from_config(
        JudgeConfig(kind="served", base_url=base_url, model="m", key_variable="JUDGE_KEY", **config)
    )
    pauses: list[float] = []
    judge.pause = pauses.append
    return judge, pauses


def questions(count: int) -> list[Question]:
    return [Question(SPECIFICITY, "months", f"in<< May>> {n}") for n in range(count)]


def test_an_answer_is_read_from_the_probabilities(tmp_path: Path) -> None:
    logprobs = [(" 3", math.log(0.5)), ("2", math.log(0.3)), ("x", math.log(0.1)), ("3", math.log(0.1))]
    with scripted_server(lambda number, body: completion("3", logprobs)) as server:
        judge, _ = make_judge(server.base_url, concurrency=4)
        answers, usage = AnswerCache(tmp_path, judge).ask(questions(9))
        assert AnswerCache(tmp_path, judge).ask(questions(9))[1].asked == 0
    assert answers[0].value == pytest.approx((0.6 * 3 + 0.3 * 2) / 0.9)
    assert answers[0].probabilities == pytest.approx((0, 0, 1 / 3, 2 / 3))
    assert (usage.asked, usage.tokens_in, usage.tokens_out, len(server.requests)) == (9, 900, 9, 9)
    assert {body["messages"][-1]["content"] for body in server.requests} == {q.user_message for q in questions(9)}
    assert set(server.keys) == {f"Bearer {KEY}"}


def test_a_server_without_probabilities_is_read_by_its_text(tmp_path: Path) -> None:
    def answer(number: int, body: Body) -> Reply:
        if "logprobs" in body:
            return refusal(422, "Unsupported fields in the request: {'logprobs'}")
        return completion("**2** because")

    with scripted_server(answer) as server:
        judge, _ = make_judge(server.base_url, concurrency=1)
        answers, _ = AnswerCache(tmp_path, judge).ask(questions(3))
    assert [one.value for one in answers] == [2.0] * 3
    assert sum("logprobs" in body for body in server.requests) == 1
    assert "its text" in judge.about


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "System role not supported"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (500, "System role not supported"),
        (500, "Internal Server Error"),  # as `transformers serve` says
    ],
)
def test_a_server_that_takes_no_system_message_gets_it_with_the_first_question(
    tmp_path: Path, said: str, status: int
) -> None:
    def answer(number: int, body: Body) -> Reply:
        return refusal(status, said) if body["messages"][0]["role"] == "system" else completion("2")

    with scripted_server(answer) as server:
        judge, pauses = make_judge(server.base_url, concurrency=1)
        answers, _ = AnswerCache(tmp_path, judge).ask(questions(3))
    assert [one.value for one in answers] == [2.0] * 3
    assert (len(server.requests), pauses) == (5 if said == "Internal Server Error" else 4, [])
    first, second = server.requests[-1]["messages"][:2]
    assert first["content"].startswith(SPECIFICITY.instruction)
    assert second["role"] == "assistant"


def test_a_server_that_fails_later_is_waited_for_and_asked_as_before(tmp_path: Path) -> None:
    with scripted_server(
        lambda n, body: refusal(500, "Internal Server Error") if n == 1 else completion("2")
    ) as server:
        judge, pauses = make_judge(server.base_url, concurrency=1)
        AnswerCache(tmp_path, judge).ask(questions(3))
    assert {body["messages"][0]["role"] for body in server.requests} == {"system"}
    assert len(pauses) == 1


@pytest.mark.parametrize("num_failures", [2, 4])
def test_a_server_that_fails_while_it_starts_still_gets_its_system_messages(tmp_path: Path, num_failures: int) -> None:
    with scripted_server(
        lambda n, body: refusal(500, "Internal Server Error") if n < num_failures else completion("2")
    ) as server:
        judge, pauses = make_judge(server.base_url, concurrency=1)
        answers, _ = AnswerCache(tmp_path, judge).ask(questions(3))
    assert [one.value for one in answers] == [2.0] * 3
    assert {body["messages"][0]["role"] for body in server.requests[num_failures:]} == {"system"}
    assert len(pauses) == num_failures // 2


def test_a_server_that_gets_ready_between_two_questions_is_not_taken_for_one_without_system_messages(
    tmp_path: Path,
) -> None:
    with scripted_server(
        lambda n, body: refusal(500, "Internal Server Error") if n == 0 else completion("2")
    ) as server:
        judge, pauses = make_judge(server.base_url, concurrency=1)
        answers, _ = AnswerCache(tmp_path, judge).ask(questions(3))
    assert [one.value for one in answers] == [2.0] * 3
    assert [body["messages"][0]["role"] for body in server.requests] == ["system", "user", *["system"] * 3]
    assert pauses == []


def test_a_server_that_has_no_time_when_it_is_asked_again_is_waited_for(tmp_path: Path) -> None:
    replies = {0: refusal(500, "Internal Server Error"), 2: refusal(429, "Too many requests")}
    with scripted_server(lambda n, body: replies.get(n, completion("2"))) as server:
        judge, pauses = make_judge(server.base_url, concurrency=1)
        AnswerCache(tmp_path, judge).ask(questions(2))
    assert [body["messages"][0]["role"] for body in server.requests[2:]] == ["system"] * 3
    assert len(pauses) == 1


def test_a_server_that_fails_at_system_messages_and_takes_no_probabilities_learns_both(tmp_path: Path) -> None:
    def answer(number: int, body: Body) -> Reply:
        if body["messages"][0]["role"] == "system":
            return refusal(500, "Internal Server Error")
        return refusal(400, "no logprobs here", param="logprobs") if "logprobs" in body else completion("2")

    with scripted_server(answer) as server:
        judge, pauses = make_judge(server.base_url, concurrency=1)
        AnswerCache(tmp_path, judge).ask(questions(3))
    assert (len(server.requests), pauses) == (6, [])


def reasoning_model(number: int, body: Body) -> Reply:
    """A server that refuses all that OpenAI's reasoning models refuse, one part after the other, in its words."""
    if "max_tokens" in body:
        said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
        return refusal(400, said, "unsupported_parameter", param="max_tokens")
    if "temperature" in body:
        return refusal(400, "Unsupported value: 'temperature' does not support 0 with this model.")
    if "logprobs" in body:
        return refusal(400, "You are not allowed to request logprobs from this model", param="logprobs")
    return completion("2")


@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_a_model_refuses_is_left_out_from_then_on(tmp_path: Path, concurrency: int) -> None:
    with scripted_server(reasoning_model) as server:
        judge, _ = make_judge(server.base_url, concurrency=concurrency)
        answers, _ = AnswerCache(tmp_path, judge).ask(questions(6))
        assert len(server.requests) <= 6 + 3 * concurrency
        server.requests.clear()
        ProposalCache(tmp_path, judge).ask(["100%: <<May>>"])
    assert [one.value for one in answers] == [2.0] * 6
    assert [body.get("max_completion_tokens") for body in server.requests] == [proposing.MAX_TOKENS]


@pytest.mark.parametrize("name", ["max_tokens", "temperature", "logprobs"])
def test_a_server_that_refuses_whatever_it_is_asked_is_not_asked_for_ever(tmp_path: Path, name: str) -> None:
    with scripted_server(lambda number, body: refusal(400, f"{name}: the context is too long")) as server:
        judge, _ = make_judge(server.base_url, concurrency=1)
        with pytest.raises(JudgeError, match=r"refuses the question .*too long"):
            AnswerCache(tmp_path, judge).ask(questions(3))
    assert len(server.requests) == 2


def test_fields_of_the_recipe_go_with_every_request_and_name_the_judge(tmp_path: Path) -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "max_tokens": 900}
    with scripted_server(lambda number, body: completion("1")) as server:
        judge, _ = make_judge(server.base_url, extra_body=extra)
        AnswerCache(tmp_path, judge).ask(questions(3))
        ProposalCache(tmp_path, judge).ask(["100%: <<May>>"])
        assert judge.identity != make_judge(server.base_url)[0].identity
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in server.requests)
    assert all(body["max_tokens"] == 900 for body in server.requests)


@pytest.mark.parametrize("written", ["<think>\nIs it 1? No.\n</think>\n\n3", "Is it 1? No.\n</think> **3**"])
def test_an_answer_is_read_behind_thoughts_that_are_over(tmp_path: Path, written: str) -> None:
    with scripted_server(lambda number, body: completion(written)) as server:
        answers, _ = AnswerCache(tmp_path, make_judge(server.base_url)[0]).ask(questions(1))
    assert answers[0].value == 3.0


def test_probabilities_are_read_behind_thoughts(tmp_path: Path) -> None:
    thoughts = ["<think>", "1", "?", "</think>", "\n\n"]
    reply = completion("<think>1?</think>\n\n3", [("3", math.log(0.75)), ("2", math.log(0.25))], thoughts)
    with scripted_server(lambda number, body: reply) as server:
        answers, _ = AnswerCache(tmp_path, make_judge(server.base_url)[0]).ask(questions(1))
    assert answers[0].value == pytest.approx(2.75)


def test_a_judge_that_only_thinks_is_told_how_to_stop_it(tmp_path: Path) -> None:
    with scripted_server(lambda number, body: completion("<think>\n1, or 2? I")) as server:
        judge, _ = make_judge(server.base_url)
        with pytest.raises(JudgeError, match=r"answers nonsense: .*if it thinks .* extra_body"):
            AnswerCache(tmp_path, judge).ask(questions(60))


def test_labels_are_written_without_probabilities(tmp_path: Path) -> None:
    with scripted_server(lambda number, body: completion('"Months."')) as server:
        judge, _ = make_judge(server.base_url, concurrency=3, input_price=1000.0, max_cost=10.0)
        proposals, usage = ProposalCache(tmp_path, judge).ask([f"100%: <<May>> {n}" for n in range(5)])
        assert ProposalCache(tmp_path, judge).ask(["100%: <<May>> 1"])[1].asked == 0
    assert [one.label for one in proposals] == ["Months"] * 5
    assert (usage.tokens_in, usage.tokens_out, len(server.requests)) == (500, 5, 5)
    assert not any("logprobs" in body for body in server.requests)
    assert {body["max_tokens"] for body in server.requests} == {proposing.MAX_TOKENS}
    assert all(KEY not in file.read_text() for file in tmp_path.iterdir())


def test_labels_that_were_paid_for_are_kept_when_the_money_is_gone(tmp_path: Path) -> None:
    def answer(number: int, body: Body) -> Reply:
        return completion("months") if number < 3 else refusal(402, f"pay, {KEY}")

    with scripted_server(answer) as server:
        judge, _ = make_judge(server.base_url, concurrency=1)
        with pytest.raises(JudgeError, match=r"wants to be paid .* 3 of 6 answers .* same command goes on") as e:
            ProposalCache(tmp_path, judge).ask([f"100%: <<May>> {n}" for n in range(6)])
    assert KEY not in str(e.value)
    with scripted_server(lambda number, body: completion("years")) as second:
        again, _ = make_judge(second.base_url)
        again.identity = judge.identity
        proposals, usage = ProposalCache(tmp_path, again).ask([f"100%: <<May>> {n}" for n in range(6)])
    assert [one.label for one in proposals] == ["months"] * 3 + ["years"] * 3
    assert usage.asked == 3


def test_a_busy_server_is_asked_again_when_it_says(tmp_path: Path) -> None:
    def answer(number: int, body: Body) -> Reply:
        if number < 2:
            return refusal(429, "slow down", "rate_limit_exceeded", {"retry-after": "17"})
        return refusal(503, "restarting") if number == 2 else completion("1")

    with scripted_server(answer) as server:
        judge, pauses = make_judge(server.base_url, concurrency=1)
        answers, _ = AnswerCache(tmp_path, judge).ask(questions(2))
    assert [one.value for one in answers] == [1.0, 1.0]
    assert pauses[:2] == [17.0, 17.0]
    assert 0 < pauses[2] <= failures.LONGEST_PAUSE


@pytest.mark.parametrize("status", [429, 402])
def test_without_money_all_that_was_answered_is_kept_and_the_same_command_goes_on(tmp_path: Path, status: int) -> None:
    paid = 7

    def answer(number: int, body: Body) -> Reply:
        if number < paid:
            return completion("3")
        return refusal(status, f"You have no money left, {KEY}", "insufficient_quota")

    with scripted_server(answer) as server:
        judge, pauses = make_judge(server.base_url, concurrency=3)
        with pytest.raises(
            JudgeError, match=r"wants to be paid .*: pay.* 7 of 20 answers .* same command goes on"
        ) as e:
            AnswerCache(tmp_path, judge).ask(questions(20))
        assert KEY not in str(e.value)
        assert pauses == []
        assert len(server.requests) <= paid + 3
    with scripted_server(lambda number, body: completion("2")) as second:
        again, _ = make_judge(second.base_url)
        again.identity = judge.identity  # the other server has another port
        answers, usage = AnswerCache(tmp_path, again).ask(questions(20))
    assert usage.asked == 13
    assert sum(one.value == 3.0 for one in answers) == paid
    assert all(KEY not in file.read_text() for file in tmp_path.iterdir())


def test_a_judge_that_is_off_says_where_it_was_sought(tmp_path: Path) -> None:
    with held_port() as port:
        url = f"http://127.0.0.1:{port}/v1"
        judge, pauses = make_judge(url, retries=2, concurrency=1)
        with pytest.raises(JudgeError, match=rf"{url} does not answer .* 0 of 4 answers"):
            AnswerCache(tmp_path, judge).ask(questions(4))
    assert len(pauses) == 3


def test_nonsense_ends_the_run_and_is_not_kept(tmp_path: Path) -> None:
    with scripted_server(lambda number, body: completion("As a language model, I")) as server:
        judge, _ = make_judge(server.base_url)
        with pytest.raises(JudgeError, match=r"answers nonsense: .*name a model that follows instructions"):
            AnswerCache(tmp_path, judge).ask(questions(100))
    assert len(server.requests) <= served.MIN_ANSWERS + 8
    assert all(file.read_text() == "" for file in tmp_path.iterdir())


def test_a_few_useless_answers_are_none(tmp_path: Path) -> None:
    with scripted_server(lambda number, body: completion("hm" if number == 5 else "1")) as server:
        judge, _ = make_judge(server.base_url, concurrency=1)
        answers, _ = AnswerCache(tmp_path, judge).ask(questions(30))
    assert [one.value for one in answers].count(None) == 1


def test_a_wrong_key_names_the_variable_and_never_the_key(tmp_path: Path) -> None:
    with scripted_server(lambda number, body: refusal(401, f"Incorrect API key: {KEY}")) as server:
        judge, _ = make_judge(server.base_url)
        with pytest.raises(JudgeError, match=r"refuses the key .*set JUDGE_KEY") as e:
            AnswerCache(tmp_path, judge).ask(questions(2))
    assert KEY not in str(e.value)
    assert KEY not in judge.identity + judge.about


def test_a_refused_question_says_why_without_the_key(tmp_path: Path) -> None:
    with scripted_server(lambda number, body: refusal(404, f"no model 'm' for {KEY}")) as server:
        judge, _ = make_judge(server.base_url)
        with pytest.raises(JudgeError, match="no model 'm'") as e:
            AnswerCache(tmp_path, judge).ask(questions(2))
    assert KEY not in str(e.value)


def test_the_bill_stays_below_its_limit(tmp_path: Path) -> None:
    with scripted_server(lambda number, body: completion("1")) as server:
        judge, _ = make_judge(server.base_url, concurrency=1, input_price=100.0, max_cost=0.05)
        with pytest.raises(JudgeError, match=r"has cost 0.05 .*max_cost is 0.05: raise it"):
            AnswerCache(tmp_path, judge).ask(questions(40))
    assert len(server.requests) == 5


def test_the_limit_is_of_a_command_whichever_stages_ask(tmp_path: Path) -> None:
    prices = {"concurrency": 1, "input_price": 100.0, "max_cost": 0.05}
    with scripted_server(lambda number, body: completion("1")) as server:
        AnswerCache(tmp_path, make_judge(server.base_url, **prices)[0]).ask(questions(3))
        with pytest.raises(JudgeError, match=r"has cost 0.05 in this command"):
            AnswerCache(tmp_path, make_judge(server.base_url, **prices)[0]).ask(questions(40))
        assert len(server.requests) == 5
        forget_bills()
        AnswerCache(tmp_path, make_judge(server.base_url, **prices)[0]).ask(questions(9))
    assert len(server.requests) == 9


def test_a_limit_needs_a_server_that_counts(tmp_path: Path) -> None:
    status, reply, headers = completion("1")
    with scripted_server(lambda number, body: (status, {**reply, "usage": None}, headers)) as server:
        judge, _ = make_judge(server.base_url, input_price=1.0, max_cost=5.0)
        with pytest.raises(JudgeError, match="counts no tokens, so max_cost cannot be kept to"):
            AnswerCache(tmp_path, judge).ask(questions(3))


def test_a_trial_is_one_small_question_and_says_what_it_took() -> None:
    with scripted_server(lambda number, body: completion("0")) as server:
        judge, pauses = make_judge(server.base_url)
        tried = judge.try_out()
    assert (tried.tokens_in, tried.tokens_out, len(server.requests), pauses) == (100, 1, 1, [])
    assert len(server.requests[0]["messages"]) == 1


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (refusal(401, f"no such key {KEY}"), "refuses the key .401.: set JUDGE_KEY"),
        (refusal(402, "pay"), "wants to be paid"),
        (refusal(429, "pay", "insufficient_quota"), "wants to be paid"),
        (refusal(404, f"there is no model 'm' for {KEY}"), "refuses the question .*no model 'm'"),
        (refusal(503, "down"), "does not answer"),
        ((200, {}, {"content-type": "text/html"}), "answers, but not as OpenAI's protocol does: base_url"),
    ],
)
def test_a_trial_tells_at_once_what_is_wrong(reply: Reply, said: str) -> None:
    with scripted_server(lambda number, body: reply) as server:
        judge, pauses = make_judge(server.base_url)
        with pytest.raises(JudgeError, match=said) as e:
            judge.try_out()
    assert (KEY in str(e.value), len(server.requests), pauses) == (False, 1, [])


def test_a_trial_without_a_key_says_where_to_put_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY")
    with scripted_server(lambda number, body: refusal(401, "who are you")) as server:
        judge, _ = make_judge(server.base_url)
        with pytest.raises(JudgeError, match=r"wants a key .401.: put one into JUDGE_KEY"):
            judge.try_out()


def test_a_busy_server_is_there() -> None:
    with scripted_server(lambda number, body: refusal(429, "slow down", "rate_limit_exceeded")) as server:
        assert make_judge(server.base_url)[0].try_out().tokens_in == 0
