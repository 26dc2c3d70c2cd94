"""Stage `explain`: what a feature says: the tokens it promotes and suppresses, and a first label from its statistics.

Labels of other origins (judges) come later; this one is there for every live feature from the start.
"""

from typing import Any

from data.artifacts.corpus import TokenizedCorpus
from pipeline.activations.residuals import load_language_model
from pipeline.fetching.local import model_folder
from pipeline.labels.evidence import Background
from pipeline.labels.files import ORIGIN, label_features, write_explanations
from pipeline.labels.rules import Labeller
from pipeline.labels.words import Words
from pipeline.models.promoted import promoted_tokens
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work


def explain(work: Work) -> dict[str, Any]:
    """Write explanations.arrow for every SAE."""
    recipe = work.recipe
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    norm_scale_D, W_U_VD = load_language_model(recipe, work.paths).unembedding()
    tokenizer = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths))
    words = Words(tokenizer.token_bytes(len(W_U_VD)))
    labeller = Labeller(words, Background(corpus, words))
    total = sum(sae.num_features for sae in recipe.train.saes)
    counts = {}
    with track("explain", total, "features") as progress:
        for name in recipe.sae_names:
            sae = SAE.load(work.input_folder("train") / name, recipe.model.device)
            promoted, suppressed = promoted_tokens(sae.W_dec_FD, norm_scale_D, W_U_VD, recipe.explain.promoted)
            folder = work.folder / name
            folder.mkdir(exist_ok=True)
            examples = work.input_folder("examples") / name
            labels = label_features(examples, recipe.examples.bands, corpus, labeller, promoted, progress)
            counts[name] = {"num_labels": write_explanations(folder, labels, promoted, suppressed)}
    return {"origin": ORIGIN, "saes": counts}


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"explain": recipe.explain.model_dump(mode="json")}


STAGE = Stage(name="explain", work=explain, config=_config, needs=("fetch", "tokenize", "train", "examples"), version=2)
run = STAGE.run
