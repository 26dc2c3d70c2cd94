"""Judges as a recipe asks for them."""

from dataclasses import dataclass
from pathlib import Path

from data.artifacts.corpus import TokenizedCorpus
from pipeline.judges.estimate import written_tokens
from pipeline.judges.prompts import Prompts
from pipeline.judges.protocol import Judge
from pipeline.judges.rule import RuleJudge
from pipeline.judges.sentences import SentenceJudge
from pipeline.judges.tasks import TASKS, TOPIC
from pipeline.labels.words import Words
from pipeline.models.errors import ModelError
from pipeline.models.sentences import SentenceEncoder
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe
from pipeline.recipe.judging import JudgeConfig

LEAST_CONTEXT = 1024
"""Tokens that a local judge must be able to read, or as many as the longest question may have, if these are more."""


@dataclass(frozen=True)
class Materials:
    """What judges are made from."""

    recipe: Recipe
    corpus: TokenizedCorpus
    words: Words
    encoder: Path | None
    """Folder of the sentence encoder."""
    encoder_name: str
    model: Path
    """Folder of the run's language model."""
    model_name: str
    """What it is called."""


def make_judge(config: JudgeConfig, materials: Materials) -> Judge | str:
    """A judge, or the reason why this run cannot have it, as a sentence. Raises ModelError or JudgeError."""
    if config.kind == "rule":
        return RuleJudge(materials.corpus, materials.words)
    if config.kind == "sentences":
        if materials.encoder is None:
            return "The recipe names no sentence encoder (embed.source)."
        return SentenceJudge(SentenceEncoder.load(materials.encoder), materials.encoder_name)
    if config.kind == "local":
        return _make_local(config, materials)
    from pipeline.judges.served import ServedJudge  # here, for it needs the extra `judge`

    return ServedJudge.from_config(config)


def _make_local(config: JudgeConfig, materials: Materials) -> Judge | str:
    from pipeline.judges.local import LocalJudge  # here, for it loads torch

    folder = Path(config.model).expanduser() if config.model else materials.model
    name = config.model.rstrip("/").rsplit("/", 1)[-1] if config.model else materials.model_name
    tokenizer = Tokenizer.load(folder)
    if not tokenizer.has_chat_template:
        return f"{name} has no chat template, so it is no chat model: name one as `model` of this judge."
    prompts = Prompts(tokenizer, name)
    try:
        prompts.check()
    except ModelError as error:
        return f"{error}."
    longest, setting = _longest_question(prompts, materials.recipe)
    least, model = max(LEAST_CONTEXT, longest), materials.recipe.model
    judge = LocalJudge.load(
        folder, tokenizer, name, dtype=model.dtype, device=model.device, batch_tokens=config.batch_tokens
    )
    if judge.context_length < least:
        return (
            f"{name} reads at most {judge.context_length:,} tokens, too few for questions with their examples "
            f"({least:,}): name another model as `model` of this judge, or lower {setting}."
        )
    return judge


def _longest_question(prompts: Prompts, recipe: Recipe) -> tuple[int, str]:
    """The most tokens of a question, and the setting that decides how many they are."""
    scored = prompts.most_tokens(TASKS.values(), 2 * recipe.score.context + 1)
    written = written_tokens(recipe)
    topic = prompts.most_tokens([TOPIC], written) if written else 0
    return max((scored, "score.context"), (topic, "strengths.new_tokens"))
