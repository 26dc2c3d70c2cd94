"""Stage `completeness`: which concepts have a feature of their own, and how often a concept must occur to have one.

Prompts that end with each concept are read by the model once for all SAEs. Ordinary text is not read again: the corpus
is searched for the concepts, and what features are active on is known from their examples.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data.arrow import read_arrow, write_arrow
from data.artifacts.completeness import (
    ACTIVITY,
    ACTIVITY_FILE,
    CANDIDATES,
    CANDIDATES_FILE,
    CONCEPTS,
    CONCEPTS_FILE,
    CompletenessCounts,
    ListCounts,
    SAECounts,
    SharedFeature,
)
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.features import EXAMPLES_FILE, STATISTICS_FILE
from data.concepts.frequency import shares_of
from data.concepts.matching import Matcher, ways_to_write
from data.concepts.specificity import (
    THRESHOLDS,
    Activations,
    Means,
    Prompts,
    choose,
    compare,
    decide,
    means_of,
    shared_by,
    worth_reading,
)
from pipeline.activations.residuals import load_language_model
from pipeline.arrays import Ints
from pipeline.completeness.evidence import read_examples
from pipeline.completeness.files import Measured, activity_batches, candidates_table, concepts_table
from pipeline.completeness.lists import AllConcepts, NamedList, load_lists
from pipeline.completeness.occurrences import Counted, count_occurrences
from pipeline.fetching.local import model_folder
from pipeline.models.last_tokens import read_last_tokens, tokens_of_ways
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.progress import log, track
from pipeline.recipe import Recipe
from pipeline.stage import Stage, Work

ROWS_AT_ONCE = 2048
NONE_ASKED = "The recipe names no lists of concepts (completeness.lists=[])."


def _work(work: Work) -> dict[str, Any]:
    lists = load_lists(work.recipe.completeness.lists)
    all_ = AllConcepts.of([one.content for one in lists])
    if not all_.concepts:
        log(f"completeness: nothing is measured. {NONE_ASKED}")
        _write_nothing(work)
        return CompletenessCounts(why_none=NONE_ASKED).as_json()
    return _Completeness(work, lists, all_).run().as_json()


class _Completeness:
    """The concepts, in the corpus and among the features."""

    def __init__(self, work: Work, lists: list[NamedList], all_: AllConcepts) -> None:
        self._work, self._lists, self._all = work, lists, all_
        self._corpus = TokenizedCorpus(work.input_folder("tokenize"))
        self._prompts = Prompts.of(all_.num_prompts)
        folder = model_folder(work.inputs["fetch"], work.paths)
        self._tokenizer = Tokenizer.load(folder, opening=work.recipe.tokenize.opening)
        ways = [[way for text in one.spellings for way in ways_to_write(text)] for one in all_.concepts]
        pieces = self._tokenizer.token_bytes(work.inputs["tokenize"].counts["vocab_size"])
        self._matcher = Matcher(tokens_of_ways(self._tokenizer, ways), pieces)

    def run(self) -> CompletenessCounts:
        """Write everything; returns the counts."""
        work, num_concepts = self._work, len(self._all.concepts)
        counted = count_occurrences(self._corpus, self._matcher, num_concepts, work.recipe.completeness.max_tokens)
        table = concepts_table(self._all, counted.occurrences_C)
        write_arrow(work.folder / CONCEPTS_FILE, CONCEPTS, table.to_batches())
        number_R, x_RD = self._read()
        saes = {name: self._sae(name, number_R, x_RD, counted) for name in work.recipe.sae_names}
        return CompletenessCounts(
            lists=[
                ListCounts(
                    one.name,
                    one.content.title,
                    list(one.content.templates),
                    len(one.content.concepts),
                    [concept.name for concept in one.content.concepts if concept.ambiguous],
                )
                for one in self._lists
            ],
            num_tokens=counted.num_tokens,
            num_prompts=len(self._all.prompts),
            saes=saes,
        )

    def _read(self) -> tuple[Ints, Tensor]:
        """The numbers of the prompts whose last token counts, and the residual stream there."""
        model = load_language_model(self._work.recipe, self._work.paths, only_until_layer=True)
        opened = [self._tokenizer.open(text)[0] for text in self._all.prompts]
        sink_norm = self._work.inputs["harvest"].counts["sink_threshold"]
        numbers, rows = [], []
        with track("prompts with a concept", len(opened), "prompts") as progress:
            for batch in read_last_tokens(model, opened, sink_norm, self._work.recipe.harvest.batch_tokens):
                numbers += batch.numbers
                rows.append(batch.x_BD)
                progress.advance(len(batch.numbers))
        return np.array(numbers, np.int64), torch.cat(rows)

    def _sae(self, name: str, number_R: Ints, x_RD: Tensor, counted: Counted) -> SAECounts:
        work = self._work
        sae = SAE.load(work.input_folder("train") / name, work.recipe.model.device)
        found, folder = _activations(sae, number_R, x_RD), work.folder / name
        means = means_of(found, self._prompts)
        measured = self._measure(name, found, means)
        folder.mkdir(exist_ok=True)
        write_arrow(folder / ACTIVITY_FILE, ACTIVITY, activity_batches(found, sae.num_features))
        write_arrow(folder / CANDIDATES_FILE, CANDIDATES, candidates_table(measured).to_batches())
        clear_N = ~np.array([one.ambiguous for one in self._all.concepts])
        represented_N = measured.represented(len(self._all.concepts)) & clear_N
        shares = shares_of(counted.occurrences_C[clear_N], counted.num_tokens, represented_N[clear_N])
        statistics = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)
        return SAECounts(
            num_alive=int((statistics["num_active"].to_numpy() > 0).sum()),
            num_represented=int(represented_N.sum()),
            by_list=np.bincount(np.array(self._all.list_of)[represented_N], minlength=len(self._lists)).tolist(),
            shared=[self._shared(means, number) for number in range(len(self._lists))],
            **vars(shares),
        )

    def _shared(self, means: Means, number: int) -> SharedFeature | None:
        found = shared_by(means, np.array(self._all.list_of), number)
        return SharedFeature(**found._asdict()) if found else None

    def _measure(self, name: str, found: Activations, means: Means) -> Measured:
        candidates = choose(means)
        fired = compare(candidates, found, self._prompts, self._all.kin)
        read_C = worth_reading(candidates, fired, self._prompts)
        examples = read_arrow(self._work.input_folder("examples") / name / EXAMPLES_FILE)
        text = read_examples(examples, self._corpus, self._matcher, candidates, read_C)
        return Measured(candidates, fired, read_C, text, decide(candidates, fired, self._prompts, text))


def _activations(sae: SAE, number_R: Ints, x_RD: Tensor) -> Activations:
    """The features of an SAE that are active on the last tokens of the prompts."""
    parts = []
    for start in range(0, len(x_RD), ROWS_AT_ONCE):
        found = sae.encode_sparse(x_RD[start : start + ROWS_AT_ONCE].to(sae.device))
        token_K, feature_K, value_K = (column.cpu().numpy() for column in found)
        parts.append((number_R[start + token_K], feature_K, value_K))
    return Activations.sorted(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _write_nothing(work: Work) -> None:
    """Tables without rows, but for one for each feature that is active on nothing."""
    write_arrow(work.folder / CONCEPTS_FILE, CONCEPTS, [])
    nothing = Activations(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    for name, size in zip(work.recipe.sae_names, (sae.num_features for sae in work.recipe.saes), strict=True):
        (work.folder / name).mkdir(exist_ok=True)
        write_arrow(work.folder / name / ACTIVITY_FILE, ACTIVITY, activity_batches(nothing, size))
        write_arrow(work.folder / name / CANDIDATES_FILE, CANDIDATES, _no_batches())


def _no_batches() -> Iterator[pa.RecordBatch]:
    return iter(())


def _config(recipe: Recipe) -> dict[str, Any]:
    return {
        "lists": {one.name: one.content.digest for one in load_lists(recipe.completeness.lists)},
        "max_tokens": recipe.completeness.max_tokens,
        "thresholds": asdict(THRESHOLDS),
        "saes": recipe.sae_names,
    }


STAGE = Stage("completeness", _work, _config, needs=("fetch", "tokenize", "harvest", "train", "examples"))
run = STAGE.run
