"""What judging will take, from the recipe alone: questions, tokens and cost."""

from typing import NamedTuple

from pipeline.judges.protocol import Question, Task, chat_messages
from pipeline.judges.tasks import SPECIFICITY, TASKS
from pipeline.recipe.comparing import CompareConfig
from pipeline.recipe.judging import JudgeConfig, ScoreConfig

CHARACTERS_PER_TOKEN = 4
LABEL_TOKENS, ANSWER_TOKENS = 8, 1
PLANTED_TEXTS = 9
"""Questions about each planted label: three texts each where it is right, wrong and shuffled."""


class Estimate(NamedTuple):
    """The most that a judge will take."""

    questions: int
    tokens_in: int
    cost: float


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
        tokens_in += count * (shared_tokens(task) + LABEL_TOKENS + 2 * config.context + 1)
    return Estimate(questions, tokens_in, judge.cost(tokens_in, questions * ANSWER_TOKENS))


def shared_tokens(task: Task) -> int:
    """About how many tokens stand before the label and text of a question."""
    messages = chat_messages(Question(task, "", ""))
    return sum(len(message.content) // CHARACTERS_PER_TOKEN + 4 for message in messages)
