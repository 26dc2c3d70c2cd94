"""What a chat model on this machine reads of a question: by its own chat template, up to where the answer stands.

Templates and tokenizers differ. One refuses a system message: then it stands before the first question. One puts
something before every answer (a blank, or thoughts that are over): then that is read too, and the answer is the token
behind it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.judges.proposing import LONGEST, proposal_messages
from pipeline.judges.protocol import Question, Task, chat_messages, fold_system
from pipeline.judges.tasks import TASKS, TOPIC
from pipeline.models.chat_template import Message
from pipeline.models.errors import ModelError
from pipeline.models.tokenizer import Tokenizer

LABELS = ("months", "rivers")
"""Two labels that differ from their first letter on."""
TOKENS_PER_TOKEN = 2
"""Of a judge, to one of the run's model at most; marks included."""
MOST_CUT = 8
"""Tokens at the end of a prompt that an answer may change; more are another prompt."""


class Opening(NamedTuple):
    """How answers begin behind a prompt."""

    cut: int
    """Tokens at the end of the prompt that are others where an answer follows."""
    lead: list[int]
    """Tokens that stand in their place, before whatever is answered."""
    ids: list[int]
    """The tokens by which answers are told apart, which come next."""


class Prompts:
    """Makes the prompts of one chat model."""

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        """name: what the model is called in messages."""
        self._tokenizer, self._name = tokenizer, name
        self._folds: bool | None = None
        self._openings: dict[tuple[str, ...], Opening] = {}

    def check(self) -> None:
        """Raise ModelError when the model cannot be asked, or its answers cannot be told apart."""
        for task in (*TASKS.values(), TOPIC):
            self.answer_ids(task)
        self.proposal("text")

    def most_tokens(self, tasks: Iterable[Task], text_tokens: int) -> int:
        """The most tokens of a question of some tasks about a text of so many tokens of the run's model."""
        empty = (Question(task, "x" * LONGEST, "") for task in tasks)
        return max(len(self.question(one)) for one in empty) + TOKENS_PER_TOKEN * text_tokens

    def question(self, question: Question) -> list[int]:
        """Tokens up to the answer."""
        return self._prompt(chat_messages(question), self._opening(question.task))

    def proposal(self, text: str) -> list[int]:
        """Tokens up to the label that is asked for."""
        return self._prompt(proposal_messages(text), self._find_opening(proposal_messages("text"), LABELS))

    def answer_ids(self, task: Task) -> list[int]:
        """The token by which each allowed answer is known. Raises ModelError when two have the same."""
        ids = self._opening(task).ids
        if len(set(ids)) < len(ids):
            raise ModelError(
                f"{self._name} writes two of the answers {', '.join(task.allowed)} with the same first token, so it "
                "cannot be asked: name another model as `model` of this judge"
            )
        return ids

    def _prompt(self, messages: Sequence[Message], opening: Opening) -> list[int]:
        tokens = self._chat(messages)
        return [*tokens[: len(tokens) - opening.cut], *opening.lead]

    def _chat(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a chat, the system message before the first question where the template takes none."""
        if self._folds is None:
            self._folds = self._must_fold(messages)
        return self._tokenizer.chat(fold_system(messages) if self._folds else messages).tokens

    def _must_fold(self, messages: Sequence[Message]) -> bool:
        try:
            self._tokenizer.chat(messages)
        except ModelError:
            try:
                self._tokenizer.chat(fold_system(messages))
            except ModelError as error:
                raise ModelError(
                    f"{self._name} cannot be asked ({error}): name another model as `model` of this judge"
                ) from error
            return True
        return False

    def _opening(self, task: Task) -> Opening:
        return self._find_opening(chat_messages(Question(task, "label", "text")), task.allowed)

    def _find_opening(self, messages: Sequence[Message], answers: tuple[str, ...]) -> Opening:
        """How some answers begin in their place, or by themselves where the template does not show them there."""
        if answers not in self._openings:
            found = self._opening_in_place(messages, answers)
            alone = Opening(0, [], [self._tokenizer.encode(answer)[-1] for answer in answers])
            self._openings[answers] = found or alone
        return self._openings[answers]

    def _opening_in_place(self, messages: Sequence[Message], answers: Sequence[str]) -> Opening | None:
        prompt = self._chat(messages)
        asked = fold_system(messages) if self._folds else list(messages)
        try:
            whole = [self._tokenizer.converse([*asked, Message("assistant", answer)]).tokens for answer in answers]
        except ModelError:  # the template changes an answer that comes last
            return None
        place = _num_equal(whole)
        ids = [tokens[place] for tokens in whole if place < len(tokens)]
        kept = min(place, _num_equal([prompt, whole[0]]))
        if len(set(ids)) < len(answers) or len(prompt) - kept > MOST_CUT:
            return None
        return Opening(len(prompt) - kept, whole[0][kept:place], ids)


def _num_equal(several: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with."""
    places = enumerate(zip(*several, strict=False))
    return next((place for place, tokens in places if len(set(tokens)) > 1), min(map(len, several)))
