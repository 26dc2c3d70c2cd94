"""What judging will take, from the recipe alone: questions, tokens and cost."""

from typing import NamedTuple

from pipeline.judges.proposing import MAX_TOKENS, proposal_messages
from pipeline.judges.protocol import Question, Task, chat_messages
from pipeline.judges.tasks import DETECTION, FUZZING, SPECIFICITY, TASKS
from pipeline.models.chat_template import Message
from pipeline.recipe.comparing import CompareConfig
from pipeline.recipe.judging import JudgeConfig, ScoreConfig

CHARACTERS_PER_TOKEN = 4
LABEL_TOKENS, ANSWER_TOKENS = 8, 1
PLANTED_TEXTS = 9
"""Questions about each planted label: three texts each where it is right, wrong and shuffled."""
SHOWN_TOKENS, LABEL_OUT = 400, MAX_TOKENS
"""Tokens of what is shown of a feature, and at most of a label that is written."""
CANDIDATES = 4
"""Labels that are tried on a feature, beside those that judges propose: the rule, two that come next, and promoted
tokens."""


class Estimate(NamedTuple):
    """The most that a judge will take."""

    questions: int
    tokens_in: int
    cost: float
    proposals: int = 0
    """Labels that it writes, which are among the questions."""


def estimate(config: ScoreConfig, judge: JudgeConfig, compare: CompareConfig, num_saes: int) -> Estimate:
    """For one judge of a recipe, if nothing is known yet. Texts in other scripts than Latin have more tokens."""
    features = min(config.features, judge.features or config.features)
    samples = min(config.samples, judge.samples or config.samples)
    planted = min(config.planted, judge.planted or config.planted)
    # Only a judge of everything is asked about random features and neurons.
    compared = compare.n * (num_saes + 1) if judge.features is None else 0
    questions = tokens_in = 0
    for name in judge.tasks:
        task = TASKS[name]
        count = features * (samples if task is SPECIFICITY else 2 * config.examples) + planted * PLANTED_TEXTS
        count += compared * (min(samples, compare.samples) if task is SPECIFICITY else 2 * compare.examples)
        questions += count
        tokens_in += count * question_tokens(task, config.context)
    trials, trial_tokens = _trials(config, judge)
    proposals = _proposals(config, judge)
    tokens_in += trial_tokens + proposals * (_length(proposal_messages("")) + SHOWN_TOKENS)
    tokens_out = (questions + trials) * ANSWER_TOKENS + proposals * LABEL_OUT
    return Estimate(questions + trials + proposals, tokens_in, judge.cost(tokens_in, tokens_out), proposals)


def _trials(config: ScoreConfig, judge: JudgeConfig) -> tuple[int, int]:
    """Questions about candidates for labels, and the tokens of these: by the longer of the two tasks that do it."""
    tasks = [TASKS[name] for name in judge.tasks if TASKS[name] in (DETECTION, FUZZING)]
    features = min(config.features + config.num_unlabelled, judge.features or config.features + config.num_unlabelled)
    candidates = CANDIDATES + sum(other.num_proposals != 0 for other in config.judges)
    count = features * candidates * 2 * config.candidate_texts if tasks else 0
    return count, count * max((question_tokens(task, config.context) for task in tasks), default=0)


def _proposals(config: ScoreConfig, judge: JudgeConfig) -> int:
    features = config.features + config.num_unlabelled if config.candidate_texts else 0
    return features if judge.num_proposals is None else min(features, judge.num_proposals)


def question_tokens(task: Task, context: int) -> int:
    """About how many tokens a question has."""
    return shared_tokens(task) + LABEL_TOKENS + 2 * context + 1


def shared_tokens(task: Task) -> int:
    """About how many tokens stand before the label and text of a question."""
    return _length(chat_messages(Question(task, "", "")))


def _length(messages: list[Message]) -> int:
    return sum(len(message.content) // CHARACTERS_PER_TOKEN + 4 for message in messages)
