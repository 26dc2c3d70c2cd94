"""What judges behind servers have cost in this command: one sum for each, whichever stages ask it."""

from dataclasses import dataclass

from pipeline.recipe.judging import JudgeConfig

JudgeName = tuple[str, str | None, str | None]


@dataclass
class Bill:
    """Of one judge."""

    spent: float = 0.0
    """By the recipe's prices."""

    def add(self, cost: float) -> None:
        self.spent += cost


_bills: dict[JudgeName, Bill] = {}


def bill_of(config: JudgeConfig) -> Bill:
    """The bill of a judge, the same for all stages and hooks of a command."""
    return _bills.setdefault((config.title, config.base_url, config.model), Bill())


def forget_bills() -> None:
    """Begin anew, as another command does."""
    _bills.clear()
