"""Says why features are unlabelled: the best rules for each, and the text that these were tried on.

    python -m tests.benchmarks.unlabelled STORE 14-batchtopk-4096 14-relu-4096 [--recipe sample]

Takes the features that `sample_labels` draws, tries their rules as stage `explain` does, and writes nothing into the
store. A rule is a label where it scores 0.3 with a precision of 0.3, or is right on nine of ten of at least five tokens
and holds on six of ten of the strongest examples (pipeline/labels/labeller.py).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, EXPLANATIONS_FILE, STATISTICS_FILE
from data.layout import StorePaths
from data.manifests import require_stage
from pipeline.labels.background import Background
from pipeline.labels.candidates import CandidateMaker
from pipeline.labels.evidence import Evidence, read_evidence
from pipeline.labels.labeller import SURE, TELLING, Labeller
from pipeline.labels.pairs import Active
from pipeline.labels.scoring import ANY, STRONG, Needed, Scorer
from pipeline.labels.words import Words
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import load_recipe
from pipeline.stage import Work
from pipeline.stages.explain import STAGE, _Reader
from tests.benchmarks.sample_labels import draw

NEEDED = {"best": ANY, "of those that are right often enough": Needed(precision=TELLING.precision), "sure": SURE}


def told(labeller: Labeller, evidence: Evidence, active: Active, maximum: float, *, rare: bool) -> list[str]:
    """Lines on the best rules for a feature, with precision, recall, strong recall and the tokens that each names."""
    trial = labeller.scorer.trial(active, rare, maximum)
    candidates = {one.rule: one for one in labeller.maker.rules(evidence)}
    if trial is None:
        return ["is active on too few tokens to try any"]
    lines = []
    for name, needed in NEEDED.items():
        found = trial.best(list(candidates), Needed(0.0, needed.precision, needed.said))
        if found is not None:
            score, candidate = found.score, candidates[found.rule]
            parts = (score.precision, score.recall, score.strong_recall)
            lines.append(
                f"{name}: {labeller.text(candidate, evidence)}  score {score.value:.2f}, "
                f"{' / '.join(f'{part:.2f}' for part in parts)}, names {score.said}, holds on "
                f"{candidate.holds.bit_count()} of {len(evidence.words)}"
            )
    return lines or ["no rule names three tokens"]


def main() -> None:
    """Print the features."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("saes", nargs="+")
    parser.add_argument("--recipe", default="sample")
    asked = parser.parse_args()
    recipe = load_recipe(asked.recipe)
    paths = StorePaths(asked.store).run(recipe.name)
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    model = asked.store / str(require_stage(paths, "fetch").counts["model"])
    words = Words(Tokenizer.load(model).token_bytes(49152))
    with tempfile.TemporaryDirectory() as folder:
        inputs = {name: require_stage(paths, name) for name in STAGE.needs}
        saes = {name: SAE.load(paths.stage("train") / name, "cpu") for name in recipe.sae_names}
        reader = _Reader(Work(recipe, paths, Path(folder), inputs, "", resumed=False), corpus, saes)
        reader.take_held_out()
        reader.read_training()
        text = reader.text(words)
    labeller = Labeller(CandidateMaker(words, Background(corpus, words)), Scorer(text))
    print(f"{text.num_held_out:,} held-out tokens, {text.num_tokens - text.num_held_out:,} of training")
    for name in asked.saes:
        tested, examples = reader.tested(name), paths.stage("examples") / name
        max_F = read_arrow(examples / STATISTICS_FILE)["max"].to_numpy()
        table = read_arrow(examples / EXAMPLES_FILE)
        labels = read_arrow(paths.stage("explain") / name / EXPLANATIONS_FILE)["label"].to_pylist()
        for index in (one for one in draw(asked.store / "runs" / recipe.name, name) if not labels[one]):
            rows = table.filter(np.asarray(table["index"]) == index)
            rare = bool(tested.rare_F[index])
            usable = rows.filter(~(rare & tested.reserved_D[rows["document"].to_numpy()]))
            evidence = dict(read_evidence(usable, recipe.examples.bands, corpus, words, labeller.maker.background))
            active, maximum = tested.activity.of(index), float(max_F[index])
            held_out = active.tokens < text.num_held_out
            strong = active.values >= STRONG * maximum
            print(
                f"{name}/{index}  held-out: active on {held_out.sum()}, strong on {(held_out & strong).sum()}; "
                f"all: {len(active.tokens)}, {strong.sum()}"
            )
            for line in told(labeller, evidence[index], active, maximum, rare=rare) if index in evidence else ():
                print("     ", line)


if __name__ == "__main__":
    main()
