"""The check itself: asks every subject, and refuses a recipe with all that they find."""

from data.errors import PreflightError
from data.layout import RunPaths
from pipeline.preflight.addresses import address_problems
from pipeline.preflight.chats import chat_problems, find_marks
from pipeline.preflight.completeness import concept_problems
from pipeline.preflight.continuing import continuing_problems
from pipeline.preflight.corpus import corpus_problems
from pipeline.preflight.device import device_problems
from pipeline.preflight.disk import disk_problems
from pipeline.preflight.encoder import encoder_problems
from pipeline.preflight.imports import import_problems
from pipeline.preflight.judges import judge_problems
from pipeline.preflight.model import ModelFound, look_at_model, look_closer
from pipeline.preflight.neurons import neurons_problems
from pipeline.preflight.scaling import hours_problems, scaling_problems
from pipeline.progress import log
from pipeline.recipe import ReadRecipe


def refuse_unfit(read: ReadRecipe, paths: RunPaths, *, asks_judges: bool = False) -> None:
    """Raise PreflightError with all that keeps a recipe from running.

    Where nothing does that can be told in an instant, the model is looked at by the libraries that will read it, which
    take seconds to import. asks_judges: see find_problems.
    """
    with look_at_model(read, paths.store) as model:
        problems = find_problems(read, paths, model, asks_judges=asks_judges)
        if problems := problems or find_deeper(read, paths, model):
            raise PreflightError(problems)
        if mark := find_marks(read.recipe.corpus, paths.store, model.special_names):
            log(mark)


def find_deeper(read: ReadRecipe, paths: RunPaths, model: ModelFound) -> list[str]:
    """The same for a recipe in which nothing is wrong so far, by libraries that take seconds to import."""
    return look_closer(model) or chat_problems(read, paths.store, model) or hours_problems(read, paths, model)


def find_problems(read: ReadRecipe, paths: RunPaths, model: ModelFound, *, asks_judges: bool = False) -> list[str]:
    """A sentence for each thing that keeps a recipe from running, those of the file first. Writes nothing.

    model: what is known of the recipe's. asks_judges: those behind servers are tried, each by one small question.
    """
    return [
        *read.problems,
        *model.problems,
        *corpus_problems(read, paths.store, model),
        *device_problems(read.recipe.model.device),
        *encoder_problems(read.recipe.embed, paths.store),
        *import_problems(read, paths.store, model),
        *continuing_problems(read, paths, model),
        *disk_problems(read, paths, model),
        *neurons_problems(read, model),
        *concept_problems(read.recipe),
        *scaling_problems(read, paths, model),
        *address_problems(read, paths),
        *(judge_problems(read) if asks_judges else ()),
    ]
