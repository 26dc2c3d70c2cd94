"""What judges are made from, and what they are measured by, from the artifacts of a run."""

from collections.abc import Iterable

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXPLANATIONS_FILE
from pipeline.activations.held_out import LABEL_TOKENS, draw_held_out
from pipeline.fetching.encoders import ensure_encoder
from pipeline.fetching.local import model_folder
from pipeline.fetching.naming import fetched_counts
from pipeline.judges.making import Materials
from pipeline.judges.protocol import Task
from pipeline.labels.words import Words
from pipeline.scores.trust import Planted, PlantedLabel, Planter
from pipeline.stage import Work


def judge_materials(work: Work, corpus: TokenizedCorpus, words: Words) -> Materials:
    """What judges are made from. The stage needs `fetch`."""
    folder = model_folder(work.inputs["fetch"], work.paths)
    named = fetched_counts(work.inputs["fetch"], work.recipe.model, folder)
    encoder = ensure_encoder(work.recipe.embed, work.paths.store)
    name = str(named.get("model_name") or work.recipe.model.name)
    encoder_name = "" if encoder is None else encoder.name
    return Materials(work.recipe, corpus, words, encoder, encoder_name, folder, name)


def plant_questions(
    work: Work, materials: Materials, vocabulary: list[bytes], tasks: Iterable[Task], *, count: int, context: int
) -> dict[str, list[Planted]]:
    """Questions of known truth about `count` labels, by task. The stage needs `explain`.

    context: tokens on either side of the one that a text is made around.
    """
    recipe = work.recipe
    labels: dict[str, PlantedLabel] = {}
    for name in recipe.sae_names:
        table = read_arrow(work.input_folder("explain") / name / EXPLANATIONS_FILE)
        for label, rule in zip(table["label"].to_pylist(), table["label_rule"].to_pylist(), strict=True):
            if label and rule:
                labels.setdefault(rule, PlantedLabel(label, rule))
    sequences = draw_held_out(materials.corpus, LABEL_TOKENS, recipe.seed)
    planter = Planter(materials.corpus, materials.words, vocabulary, sequences, context, recipe.seed)
    return {task.name: planter.plant(list(labels.values()), count, task) for task in tasks}
