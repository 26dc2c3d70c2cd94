"""The most that judging will take, from the recipe alone: questions, tokens and cost.

Questions are counted as if every feature had a label, every text were there and nothing known yet. Tokens are reckoned
high, for every tokenizer cuts text in its own way: fewer characters to each than English has, two of a judge to each of
the run's, and every answer as long as it may be.
"""

from typing import NamedTuple

from pipeline.judges.prompts import TOKENS_PER_TOKEN
from pipeline.judges.proposing import LONGEST, proposal_messages
from pipeline.judges.proposing import MAX_TOKENS as LABEL_OUT
from pipeline.judges.protocol import Question, Task, chat_messages
from pipeline.judges.served import MAX_TOKENS as ANSWER_OUT
from pipeline.judges.tasks import DETECTION, FUZZING, SPECIFICITY, TASKS, TOPIC
from pipeline.models.chat_template import Message
from pipeline.recipe import Recipe
from pipeline.recipe.judging import JudgeConfig

CHARACTERS_PER_TOKEN = 3
MESSAGE_TOKENS = 8
"""That a chat template puts around a message."""
PLANTED_TEXTS = 9
"""Questions about each planted label: three texts each where it is right, wrong and shuffled."""
SHOWN_LINES, LINE_TOKENS, NEXT_TOKENS = 6, 24, 12
"""Shown of a feature for a label: lines beside one of each band, the run's tokens of a line, and next tokens."""
CANDIDATES = 4
"""Labels that are tried on a feature, beside those that judges propose: the rule, two that come next, and promoted
tokens."""


class Estimate(NamedTuple):
    """The most that a judge will take."""

    questions: int
    tokens_in: int
    tokens_out: int
    cost: float
    proposals: int = 0
    """Labels that it writes, which are among the questions."""


class Part(NamedTuple):
    """Questions of one kind, and their tokens."""

    questions: int
    tokens_in: int


def estimate(recipe: Recipe, judge: JudgeConfig) -> Estimate:
    """For one judge of a recipe, in one command. Only one judge is asked about texts that are written with features
    held (stage `strengths`), but which is not known before: they are counted at each that may be."""
    parts = [*(_scored(recipe, judge, TASKS[name]) for name in judge.tasks), _trials(recipe, judge)]
    parts.append(_topics(recipe, judge))
    proposals = _proposals(recipe, judge)
    shown = TOKENS_PER_TOKEN * (LINE_TOKENS * (SHOWN_LINES + recipe.examples.bands) + 2 * NEXT_TOKENS)
    questions = sum(part.questions for part in parts)
    tokens_in = sum(part.tokens_in for part in parts) + proposals * (_length(proposal_messages("")) + shown)
    tokens_out = questions * answer_tokens(judge, ANSWER_OUT) + proposals * answer_tokens(judge, LABEL_OUT)
    return Estimate(questions + proposals, tokens_in, tokens_out, judge.cost(tokens_in, tokens_out), proposals)


def answer_tokens(judge: JudgeConfig, usual: int) -> int:
    """Tokens of an answer at most. A recipe may allow more by extra_body."""
    limits = [judge.extra_body.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return max((limit for limit in limits if isinstance(limit, int)), default=usual)


def _scored(recipe: Recipe, judge: JudgeConfig, task: Task) -> Part:
    """Stages `score` and `compare`. Only a judge of everything is asked about random features and neurons."""
    config, compare = recipe.score, recipe.compare
    features = min(config.features, judge.features or config.features)
    compared = compare.n * (len(recipe.saes) + 1) if features and judge.features is None else 0
    per_feature, per_compared = 2 * config.examples, 2 * compare.examples
    if task is SPECIFICITY:
        per_feature = _samples(config.samples, judge.samples, config.bands)
        per_compared = _samples(compare.samples, min(compare.samples, judge.samples or compare.samples), config.bands)
    judged = features * (1 + _judges_anew(recipe, judge))
    count = judged * per_feature + compared * per_compared
    if features:
        count += min(config.planted, judge.planted or config.planted) * PLANTED_TEXTS
    return Part(count, count * question_tokens(task, 2 * config.context + 1))


def _judges_anew(recipe: Recipe, judge: JudgeConfig) -> bool:
    """Whether it may try candidates, and judges the features anew that are named by another than their label."""
    return recipe.score.candidate_texts > 0 and any(TASKS[name] in (DETECTION, FUZZING) for name in judge.tasks)


def _samples(drawn: int, wanted: int | None, bands: int) -> int:
    """Activations of a feature that are judged: the same number of each band."""
    most = -(-drawn // bands) * bands
    return most if wanted is None else min(most, max(1, wanted // bands) * bands)


def _trials(recipe: Recipe, judge: JudgeConfig) -> Part:
    """Questions about candidates for labels, by the longer of the two tasks that do it."""
    config = recipe.score
    tasks = [TASKS[name] for name in judge.tasks if TASKS[name] in (DETECTION, FUZZING)]
    if not tasks or not config.features:
        return Part(0, 0)
    features = min(config.features + config.num_unlabelled, judge.features or config.features + config.num_unlabelled)
    candidates = CANDIDATES + sum(other.num_proposals != 0 for other in config.judges)
    count = features * candidates * 2 * config.candidate_texts
    return Part(count, count * max(question_tokens(task, 2 * config.context + 1) for task in tasks))


def _topics(recipe: Recipe, judge: JudgeConfig) -> Part:
    """Stage `strengths`: every text of every feature, the plain one too, and planted ones."""
    config, longest = recipe.strengths, written_tokens(recipe)
    if judge.kind == "rule" or not longest:
        return Part(0, 0)
    texts = config.features * (1 + len(config.text_strengths)) * len(config.openings)
    count = texts + config.planted * PLANTED_TEXTS
    return Part(count, count * question_tokens(TOPIC, longest))


def written_tokens(recipe: Recipe) -> int:
    """The most tokens of a text that stage `strengths` asks a judge about, with its opening; 0 where it asks none."""
    config = recipe.strengths
    if not (config.features and config.text_strengths and recipe.score.features):
        return 0
    opening = max(len(text) for text in config.openings) // CHARACTERS_PER_TOKEN + 1
    return config.new_tokens + 1 + opening


def _proposals(recipe: Recipe, judge: JudgeConfig) -> int:
    config = recipe.score
    features = config.features + config.num_unlabelled if config.candidate_texts else 0
    return features if judge.num_proposals is None else min(features, judge.num_proposals)


def question_tokens(task: Task, text_tokens: int) -> int:
    """The most tokens that a question has. text_tokens: of its text, by the run's tokenizer."""
    return _length(chat_messages(Question(task, "x" * LONGEST, ""))) + TOKENS_PER_TOKEN * text_tokens


def _length(messages: list[Message]) -> int:
    return sum(len(message.content) // CHARACTERS_PER_TOKEN + MESSAGE_TOKENS for message in messages)
