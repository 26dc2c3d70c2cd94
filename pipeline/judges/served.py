"""The judge that is a chat model behind a server that speaks OpenAI's protocol: one in the cloud, vLLM, llama.cpp,
`transformers serve`, and many more.

The key comes from the environment alone. It goes to the server and nowhere else: no message, log or file has it.
"""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event, Lock
from typing import Any, Generic, Self, TypeVar

from data.errors import JudgeError, NonsenseError
from pipeline.judges import proposing
from pipeline.judges.bills import bill_of
from pipeline.judges.dialect import FOLDS, REFUSALS, Dialect, begins_with_system
from pipeline.judges.failures import is_busy, is_out_of_money, may_pass, seconds_to_wait
from pipeline.judges.kept import MAX_NONSENSE
from pipeline.judges.proposing import KeepProposals, Proposal, proposal_messages, read_label
from pipeline.judges.protocol import Answer, Keep, Question, chat_messages
from pipeline.judges.responses import read_response, tokens_of
from pipeline.models.chat_template import Message
from pipeline.progress import log
from pipeline.recipe.judging import JudgeConfig

MAX_TOKENS = 8
"""Of an answer. The first is the one that counts."""
MIN_ANSWERS = 20
"""From which on a judge with more than MAX_NONSENSE of its answers is given up."""
SERVER_FAILED = 500
Result = TypeVar("Result", Answer, Proposal)


@dataclass(frozen=True)
class ChatRequest(Generic[Result]):
    """What a server is asked, and how its response is read."""

    messages: list[Message]
    max_tokens: int
    read: Callable[[Any], Result]
    wants_probabilities: bool


class ServedJudge:
    """Asks a server, several questions at a time."""

    keeps = True

    def __init__(self, client: Any, config: JudgeConfig, key: str = "") -> None:
        """client: of the openai library, without retries of its own; key: what must never be shown."""
        self._client, self._config, self._key = client, config, key
        self.name = str(config.model)
        extra = [json.dumps(config.extra_body, sort_keys=True)] if config.extra_body else []
        self.identity = " ".join([f"served 1 {config.base_url} {config.model}", *extra])
        self._dialect, self._was_heard = Dialect(), False
        self._stopped, self._lock = Event(), Lock()
        self.pause: Callable[[float], Any] = self._stopped.wait
        self._bill = bill_of(config)
        self._usable = self._useless = 0

    @classmethod
    def from_config(cls, config: JudgeConfig) -> Self:
        """Raises JudgeError where the openai library is not installed."""
        try:
            import openai
        except ImportError:
            raise JudgeError(
                "a judge of kind 'served' needs the openai library: pip install 'monosema[judge]'"
            ) from None
        key = os.environ.get(config.key_variable, "")
        client = openai.OpenAI(base_url=config.base_url, api_key=key or "none", max_retries=0, timeout=config.timeout)
        return cls(client, config, key)

    @property
    def about(self) -> str:
        how = "its probabilities" if self._dialect.gives_probabilities else "its text"
        return f"{self.name}, a chat model behind a server; read from {how}"

    def ask(self, questions: Sequence[Question], keep: Keep) -> None:
        def request(number: int) -> ChatRequest[Answer]:
            question = questions[number]
            return ChatRequest(
                chat_messages(question), MAX_TOKENS, lambda response: read_response(response, question.task), True
            )

        self._ask_all(len(questions), request, keep)

    def propose(self, texts: Sequence[str], keep: KeepProposals) -> None:
        def request(number: int) -> ChatRequest[Proposal]:
            return ChatRequest(proposal_messages(texts[number]), proposing.MAX_TOKENS, read_proposal, False)

        self._ask_all(len(texts), request, keep)

    def _ask_all(
        self, count: int, request: Callable[[int], ChatRequest[Result]],
        keep: Callable[[Sequence[int], Sequence[Result]], None],
    ) -> None:  # fmt: skip
        """Send requests 0 to count, several at a time; `keep` is told of each result."""
        self._stopped.clear()
        waiting, running = iter(range(count)), dict[Future[Result], int]()
        failure: JudgeError | None = None
        kept = 0
        with ThreadPoolExecutor(self._config.concurrency) as pool:
            for number in _first(waiting, self._config.concurrency):
                running[pool.submit(self._answer, request(number))] = number
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    try:
                        result = future.result()
                        keep([number], [result])
                        kept += result.is_usable
                        self._check(result)
                    except JudgeError as error:
                        failure = failure or error
                        self._stopped.set()
                    for number in _first(waiting, 1 if failure is None else 0):
                        running[pool.submit(self._answer, request(number))] = number
        if failure is not None:
            raise type(failure)(
                f"{failure}. {kept:,} of {count:,} answers were had and are kept: the same command goes on from there"
            )

    def _answer(self, request: ChatRequest[Result]) -> Result:
        """One answer, however often the server must be asked for it. Raises JudgeError when that is of no use."""
        reason = ""
        for attempt in range(self._config.retries + 1):
            if self._stopped.is_set():
                break
            try:
                return self._ask_once(request)
            except Exception as error:
                if not may_pass(error):
                    raise self._refused(error) from None
                reason = self._clean(error)
                self.pause(seconds_to_wait(error, attempt))
        if self._stopped.is_set():
            raise JudgeError(f"{self._where} was stopped")
        raise self._silent(reason)

    def try_out(self) -> Proposal:
        """Ask one small question, once, to see that the server is there, takes the key and has the model.

        Returns what it says, with its tokens; nothing where it has no time now. Raises JudgeError when it is of no use.
        """
        try:
            return self._ask_once(TRIAL)
        except Exception as error:
            if is_busy(error):
                return Proposal(None)
            raise self._silent(self._clean(error)) if may_pass(error) else self._refused(error) from None

    def _silent(self, reason: str) -> JudgeError:
        return JudgeError(f"{self._where} does not answer ({reason}): see that it runs and can be reached")

    def _refused(self, error: Exception) -> Exception:
        """What to say of a refusal that another try would not change; the error itself where it is none of a server."""
        import openai

        if not isinstance(error, openai.APIError):
            return error
        if is_out_of_money(error):
            return JudgeError(f"{self._where} wants to be paid ({self._clean(error)}): pay, or name another judge")
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            variable = self._config.key_variable
            if not self._key:
                return JudgeError(f"{self._where} wants a key ({error.status_code}): put one into {variable}")
            return JudgeError(
                f"{self._where} refuses the key ({error.status_code}): set {variable} to one that it takes"
            )
        return JudgeError(f"{self._where} refuses the question ({self._clean(error)})")

    def _ask_once(self, request: ChatRequest[Result], trial: Dialect | None = None) -> Result:
        """Ask, in another way where the server refuses a part of what is usual. trial: a way that is tried out."""
        import openai

        dialect = trial or self._dialect
        asked = dialect.fields(request.messages, request.max_tokens, probabilities=request.wants_probabilities)
        try:
            response = self._client.chat.completions.create(
                model=self._config.model, extra_body=self._config.extra_body or None, **asked
            )
        except openai.APIStatusError as error:
            if self._learns(dialect, asked, error):
                return self._ask_once(request, trial)
            if error.status_code == SERVER_FAILED and not (self._was_heard or trial) and begins_with_system(asked):
                return self._ask_folded(request, error)
            raise
        if getattr(response, "choices", None) is None:
            raise JudgeError(
                f"{self._where} answers, but not as OpenAI's protocol does: base_url is what stands before "
                "/chat/completions, such as http://127.0.0.1:8080/v1"
            )
        self._was_heard = self._was_heard or trial is None
        return request.read(response)

    def _ask_folded(self, request: ChatRequest[Result], failure: Exception) -> Result:
        """Ask without a system message, as some servers fail without a reason where a template refuses it; and so from
        now on if that is answered and the usual way, asked once more, still is not: the server may have become ready
        in between. Raises the failure where all of it fails: the server may only be starting."""
        import openai

        folding = self._dialect.folding()
        try:
            result = self._ask_once(request, folding)
        except openai.APIError as error:
            raise (failure if may_pass(error) else error) from None
        try:
            usual = self._ask_once(request, self._dialect)
        except openai.InternalServerError as error:
            if error.status_code != SERVER_FAILED:
                raise
        else:
            self._was_heard = True
            return usual
        with self._lock:
            if not self._was_heard:
                self._was_heard = True
                self._dialect.become(folding)
                log(f"{self._where} {FOLDS}")
        return result

    def _learns(self, dialect: Dialect, asked: dict[str, Any], error: Any) -> bool:
        """Whether a refusal says how to ask otherwise; that is said once."""
        if error.status_code not in REFUSALS:
            return False
        with self._lock:
            before = vars(dialect).copy()
            learnt = dialect.learn(asked, str(error), getattr(error, "param", None))
            if learnt and vars(dialect) != before:
                log(f"{self._where} {learnt}")
        return learnt is not None

    def _check(self, answer: Answer | Proposal) -> None:
        """Raise JudgeError when the bill, or the share of answers that are nonsense, is too high."""
        if isinstance(answer, Answer):
            self._usable += answer.is_usable
            self._useless += not answer.is_usable
        total = self._usable + self._useless
        if total >= MIN_ANSWERS and self._useless > MAX_NONSENSE * total:
            raise NonsenseError(
                f"{self._where} answers nonsense: {self._useless} of {total} answers are none of those allowed; name a "
                "model that follows instructions, and if it thinks before it answers, switch that off by extra_body "
                "(docs/running.md shows how)"
            )
        self._pay(answer)

    def _pay(self, answer: Answer | Proposal) -> None:
        """Add an answer to the bill. Raises JudgeError when that is too high, or cannot be known."""
        config = self._config
        if config.max_cost is None:
            return
        if not answer.tokens_in:
            raise JudgeError(f"{self._where} counts no tokens, so max_cost cannot be kept to: take max_cost away")
        self._bill.add(config.cost(answer.tokens_in, answer.tokens_out))
        if self._bill.spent >= config.max_cost:
            raise JudgeError(
                f"{self._where} has cost {self._bill.spent:.4g} in this command by the recipe's prices, max_cost is "
                f"{config.max_cost:g}: raise it, or give the command again to spend as much once more"
            )

    @property
    def _where(self) -> str:
        return f"judge '{self._config.title}' at {self._config.base_url}"

    def _clean(self, error: Exception) -> str:
        """What a server said, without the key, on one line."""
        said = " ".join(str(error).split())
        return (said.replace(self._key, "***") if self._key else said)[:300]


def read_proposal(response: Any) -> Proposal:
    """The label in a chat completion."""
    written = response.choices[0].message.content if response.choices else None
    return Proposal(read_label(written or ""), **tokens_of(response))


TRIAL = ChatRequest([Message("user", "Answer with 0.")], MAX_TOKENS, read_proposal, False)
"""A question of some ten tokens, of which only the count of its tokens is looked at."""


def _first(numbers: Any, count: int) -> list[int]:
    return [number for _, number in zip(range(count), numbers, strict=False)]
