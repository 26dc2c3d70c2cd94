"""Judges behind servers: that each is there, takes the key and has the model. Asks each one small question."""

from data.errors import JudgeError
from pipeline.judges.served import ServedJudge
from pipeline.progress import log
from pipeline.recipe import ReadRecipe
from pipeline.recipe.judging import JudgeConfig


def judge_problems(read: ReadRecipe) -> list[str]:
    """What keeps the recipe's judges from being asked, a sentence each."""
    return list(filter(None, map(_problem, served_judges(read))))


def served_judges(read: ReadRecipe) -> list[JudgeConfig]:
    """The judges behind servers that the recipe asks anything."""
    if read.problems or not read.recipe.score.features:
        return []
    return [judge for judge in read.recipe.score.judges if judge.kind == "served"]


def _problem(config: JudgeConfig) -> str:
    """The reason why it cannot be asked; "" when it answers, which is said with its cost."""
    try:
        tried = ServedJudge.from_config(config).try_out()
    except JudgeError as error:
        return str(error)
    cost = config.cost(tried.tokens_in, tried.tokens_out)
    priced = f", {cost:.2g} by its prices" if config.input_price or config.output_price else ""
    took = (
        f"one question of {tried.tokens_in + tried.tokens_out:,} tokens{priced}" if tried.tokens_in else "one question"
    )
    log(f"judge '{config.title}' at {config.base_url} can be asked ({took})")
    return ""
