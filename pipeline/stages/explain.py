"""Stage `explain`: what a feature says: the tokens it promotes and suppresses, and a label from its statistics.

A label is a rule that was tried on text it was not made from: held-out documents; for features that hardly fire there,
also a part of the training documents, which is then left out of what their rules are made from (docs/method.md).
"""

from typing import Any

import numpy as np
import torch

from data.arrow import read_arrow
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import ACTIVATIONS_FILE, COUNTED_FILE, EXAMPLES_FILE, STATISTICS_FILE
from pipeline.activations.held_out import LABEL_TOKENS, DrawnText, draw_held_out
from pipeline.activations.residuals import ResidualBlock, load_language_model, residual_blocks
from pipeline.arrays import Ints, contains, splitmix64
from pipeline.fetching.local import model_folder
from pipeline.labels.activity import Activity
from pipeline.labels.background import Background
from pipeline.labels.candidates import CandidateMaker
from pipeline.labels.files import ORIGIN, write_explanations, write_held_out
from pipeline.labels.fresh import FreshText, evidence_contexts
from pipeline.labels.labeller import Labeller
from pipeline.labels.labelling import Labelling, Tested, labels_of
from pipeline.labels.pairs import FeatureActivity
from pipeline.labels.scoring import MIN_STRONG, STRONG, Scorer
from pipeline.labels.text import RuleText
from pipeline.labels.words import Words
from pipeline.models.promoted import promoted_tokens
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import log, track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

RARE_PAIRS = 800_000_000
"""Pairs of a rare feature and a training token that are computed, at most."""
RESERVED_OF = 3
"""One training document of so many is reserved for rules of features that hardly fire in held-out text."""
BLOCK_TOKENS = 2048


def explain(work: Work) -> dict[str, Any]:
    """Write explanations.arrow for every SAE."""
    recipe = work.recipe
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    model = load_language_model(recipe, work.paths)
    norm_scale_D, W_U_VD = model.unembedding()
    tokenizer = Tokenizer.load(model_folder(work.inputs["fetch"], work.paths))
    words = Words(tokenizer.token_bytes(len(W_U_VD)))
    saes = {name: SAE.load(work.input_folder("train") / name, recipe.model.device) for name in recipe.sae_names}
    reader = _Reader(work, corpus, saes)
    reader.take_held_out()
    reader.read_training()
    text = reader.text(words)
    labeller = Labeller(CandidateMaker(words, Background(corpus, words)), Scorer(text))
    counts = {}
    with track("explain", sum(sae.num_features for sae in saes.values()), "features") as progress:
        for name, sae in saes.items():
            promoted, suppressed = promoted_tokens(sae.W_dec_FD, norm_scale_D, W_U_VD, recipe.explain.promoted)
            folder = work.folder / name
            folder.mkdir(exist_ok=True)
            tested = reader.tested(name)
            write_held_out(folder, tested.activity, text.num_held_out)
            examples = work.input_folder("examples") / name
            labelling = Labelling(examples, recipe.examples.bands, corpus, labeller, tested)
            labels = labels_of(labelling, work.folder, progress)
            counts[name] = write_explanations(folder, labels, promoted, suppressed)
    tokens = {"held_out_tokens": text.num_held_out, "training_tokens": text.num_tokens - text.num_held_out}
    return {"origin": ORIGIN, **tokens, "saes": counts}


class _Reader:
    """Reads the text that rules are tried on, and what is active there."""

    def __init__(self, work: Work, corpus: TokenizedCorpus, saes: dict[str, SAE]) -> None:
        self._work, self._corpus = work, corpus
        dtype = getattr(torch, work.recipe.examples.dtype)
        self._activities = {name: Activity(sae, dtype) for name, sae in saes.items()}
        self._rare: dict[str, Ints] = {}
        hashes_D = splitmix64(corpus.document_ids.astype(np.uint64))
        self._reserved_D = (hashes_D % np.uint64(RESERVED_OF) == 0) & ~corpus.held_out
        self._held_out = DrawnText(corpus, draw_held_out(corpus, LABEL_TOKENS, work.recipe.seed))
        self._training = np.empty(0, np.int64)
        self._fresh = FreshText(corpus, self._evidence_contexts(np.ones(len(corpus.documents), bool)))
        self._first_S = self._held_out.first_S.copy()
        """Number of the first token of each sequence that is read."""
        self._counted: list[Ints] = []

    def take_held_out(self) -> None:
        """Take what is active in held-out text from `evaluate`, which has read it."""
        folder = self._work.input_folder("evaluate")
        counted_N = np.flatnonzero(np.load(folder / COUNTED_FILE))
        kept_N = counted_N[self._fresh.places(*self._held_out.places(self._corpus, counted_N))]
        self._counted.append(kept_N)
        for name, activity in self._activities.items():
            pairs = FeatureActivity.load(folder / name / ACTIVATIONS_FILE)
            activity.take(pairs.kept(contains(kept_N, pairs.token_K)))
            maximum_F = read_arrow(self._work.input_folder("examples") / name / STATISTICS_FILE)["max"].to_numpy()
            strong_F = activity.count_above(STRONG * maximum_F)
            self._rare[name] = np.flatnonzero((strong_F < MIN_STRONG) & (maximum_F > 0))

    def read_training(self) -> None:
        """Read reserved training sequences for the features that hardly fire in held-out text."""
        num_rare = sum(map(len, self._rare.values()))
        if num_rare == 0:
            return
        limit = RESERVED_OF * RARE_PAIRS // num_rare  # of which so many tokens are reserved
        log(f"{num_rare:,} features hardly fire in held-out text: their labels are tried on training text as well")
        recipe, paths = self._work.recipe, self._work.paths
        self._fresh = FreshText(self._corpus, self._evidence_contexts(~self._reserved_D), self._fresh.seen)
        for block in residual_blocks(recipe, paths, block_tokens=BLOCK_TOKENS, max_tokens=limit):
            self._add_training(block)

    def _add_training(self, block: ResidualBlock) -> None:
        documents_N = self._corpus.sequences["document"][block.index_N["sequence"]]
        kept_N = np.flatnonzero(self._reserved_D[documents_N])
        if len(kept_N) == 0:
            return
        block = ResidualBlock(block.x_ND[kept_N], block.index_N[kept_N])
        sequences = np.unique(block.index_N["sequence"]).astype(np.int64)
        self._number(sequences)
        self._training = np.concatenate([self._training, sequences])
        block = self._fresh_rows(block)
        token_N = self._numbers(block)
        for name, activity in self._activities.items():
            if len(self._rare[name]):
                activity.add(block.x_ND, token_N, self._rare[name])

    def text(self, words: Words) -> RuleText:
        """All that was read, indexed by word."""
        counted = np.concatenate(self._counted)

        def is_counted(numbers: Ints) -> np.ndarray:
            return np.isin(numbers, counted)

        return RuleText(self._corpus, words, self._held_out.numbers, self._training, is_counted)

    def tested(self, name: str) -> Tested:
        """What the rules of an SAE are tried on."""
        activity = self._activities[name].finish()
        rare_F = np.zeros(len(activity.starts_F) - 1, bool)
        rare_F[self._rare[name]] = True
        return Tested(activity, rare_F, self._reserved_D)

    def _evidence_contexts(self, usable_D: np.ndarray) -> Ints:
        """Contexts of the examples in some documents."""
        folder = self._work.input_folder("examples")
        tables = (read_arrow(folder / name / EXAMPLES_FILE) for name in self._activities)
        return evidence_contexts(self._corpus, tables, usable_D)

    def _fresh_rows(self, block: ResidualBlock) -> ResidualBlock:
        """The rows of a block that are no copies of what was read before."""
        sequence_N, position_N = (block.index_N[name].astype(np.int64) for name in ("sequence", "position"))
        document_N = self._corpus.sequences["document"][sequence_N].astype(np.int64)
        kept = self._fresh.places(document_N, position_N)
        return ResidualBlock(block.x_ND[torch.from_numpy(kept)], block.index_N[kept])

    def _number(self, sequences: Ints) -> None:
        """Number the tokens of training sequences after all that were read before."""
        before = int(self._corpus.sequences["length"][self._training].sum(dtype=np.int64)) + self._held_out.num_tokens
        lengths = self._corpus.sequences["length"][sequences].astype(np.int64)
        self._first_S[sequences] = before + np.cumsum(lengths) - lengths

    def _numbers(self, block: ResidualBlock) -> Ints:
        """Numbers of a block's tokens in the text; they are counted there."""
        sequence_N, position_N = (block.index_N[name].astype(np.int64) for name in ("sequence", "position"))
        token_N: Ints = self._first_S[sequence_N] + position_N - self._corpus.sequences["start"][sequence_N]
        self._counted.append(token_N)
        return token_N


def _config(recipe: Recipe) -> dict[str, Any]:
    return {"explain": recipe.explain.model_dump(mode="json")}


STAGE = Stage(
    name="explain",
    work=explain,
    config=_config,
    needs=("fetch", "tokenize", "harvest", "train", "examples", "evaluate"),
    version=6,  # copies are evidence once, and a rule that is nearly always right and typical is a label
)
run = STAGE.run
