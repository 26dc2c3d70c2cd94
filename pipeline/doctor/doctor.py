"""`monosema doctor`: prove a published run by computing parts of it anew.

It reads what the server reads (the published folder, SQL and the language model), not the artifacts of the pipeline: so
it proves an imported run as well. Stored activations are recomputed from their tokens alone, the metrics over all
held-out documents, losses on another sample of them.

Shapes: M examples, B sequences, L positions (BOS included), N tokens, D width, F features.
"""

import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from data.artifacts.contexts import CONTEXT_SIDE, hash_contexts
from data.artifacts.corpus import COUNTED, Cutting, is_held_out
from data.artifacts.features import EXAMPLE_KINDS
from data.hooks import RESID_POST
from data.layout import StorePaths
from data.published.state import SAES_FOLDER, Published, open_published
from data.published.tables import PublishedRun
from data.sql.records import SAERecord
from pipeline.activations.batches import own_positions, pad, plan_batches
from pipeline.arrays import Ints, pack_tokens, unpack_tokens
from pipeline.doctor import checks
from pipeline.doctor.checks import Check, Example, Recomputed, report
from pipeline.doctor.effects import check_effects
from pipeline.doctor.extremes import Extremes, Stored
from pipeline.doctor.strengths import check_strengths
from pipeline.evaluation.held_out import Evaluator
from pipeline.evaluation.losses import DocumentLosses
from pipeline.evaluation.metrics import counted
from pipeline.evaluation.sample import Sequences, draw_sequences, whole_documents
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.progress import log, track

BATCH_TOKENS = 2048
EXTREMES_TOKENS = 20_000
"""Of training documents, on which examples are compared with all tokens."""
DOCUMENTS_KEPT = 256
"""Whose contexts are remembered."""
DOCUMENTS_AT_ONCE = 4096
FEATURES_TRIED = 40
"""Features looked at for each example that is wanted, until one has examples of the kind."""


def run_doctor(store: StorePaths, run: str | None, deep: bool = False) -> bool:
    """Check a published run (None: the newest) and print what agrees; False when anything does not.

    deep: read every byte of the published folder and compare its hash.
    Raises ArtifactError, ContractError or ModelError when there is nothing that could be checked.
    """
    published = open_published(store, run)
    found = Doctor(store, published).checks(deep)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(report(published.record.name, found))
    broken = [check.what for check in found if not check.holds]
    if broken:
        console.print(f"[bold red]run '{published.record.name}' does not hold:[/] {', '.join(broken)}")
        console.print(f"to publish it anew, delete {published.folder} and run its recipe again", highlight=False)
    return not broken


class Doctor:
    """A published run, opened, with everything that is needed to compute parts of it anew."""

    def __init__(self, store: StorePaths, published: Published) -> None:
        self.published, self.record = published, published.record
        self.run = PublishedRun(published.folder)
        self.config = self.record.recipe["model"]
        self.folder = store.root / self.record.model_source
        """Of the model."""
        self.model = LanguageModel.load(
            self.folder,
            layer=self.record.layer,
            hook=self.config.get("hook", RESID_POST),
            dtype=self.config["dtype"],
            device=self.config["device"],
        )
        self.saes = [
            SAE.load(published.folder / SAES_FOLDER / sae.name, self.config["device"]) for sae in self.record.saes
        ]
        self.cutting = Cutting.of(self.record.corpus["tokenize"])
        self.own = self._counted if self.run.has_roles else None
        """Which tokens of a sequence count; None for all."""

    def checks(self, deep: bool) -> list[Check]:
        """Every check, the cheap ones first."""
        found = [checks.check_files(self.published)] if deep else []
        found.append(checks.check_rows(self.published))
        for record, sae in zip(self.record.saes, self.saes, strict=True):
            found += [checks.check_norms(record.name, sae), checks.check_vectors(record, sae, self.run)]
        return [
            *found,
            *self._check_examples(),
            *self._check_extremes(),
            *self._check_effects(),
            *self._check_strengths(),
            *self._check_metrics(),
        ]

    def _check_examples(self) -> Iterator[Check]:
        examples = self._sample()
        recomputed = self._recompute(examples)
        tolerance = checks.ACTIVATION_TOLERANCE[self.config["dtype"]]
        for position, (record, sae) in enumerate(zip(self.record.saes, self.saes, strict=True)):
            mine = [place for place, example in enumerate(examples) if example.sae == position]
            yield checks.check_examples(
                record.name, sae, tolerance, [examples[m] for m in mine], [recomputed[m] for m in mine]
            )

    def _sample(self) -> list[Example]:
        """Stored examples, from random features, shared out over SAEs and kinds."""
        groups = list(product(self.record.saes, range(len(EXAMPLE_KINDS))))
        quotas = [len(part) for part in np.array_split(np.arange(checks.NUM_EXAMPLES), len(groups))]
        places = [
            place
            for (record, kind), quota in zip(groups, quotas, strict=True)
            for place in self._places(record, kind, quota)
        ]
        stored = self.run.take("examples", [row for _, _, row in places]).to_pylist()
        documents = self.run.take("documents", [e["document"] for e in stored], ["document_id"])[
            "document_id"
        ].to_pylist()
        return [
            Example(record.position, index, record.first_row + index, row, document)
            for (record, index, _), row, document in zip(places, stored, documents, strict=True)
        ]

    def _places(self, record: SAERecord, kind: int, quota: int) -> list[tuple[SAERecord, int, int]]:
        """SAE, feature index and row in table `examples` of some examples of one kind, each of another feature."""
        indices = checks.some(record.num_features, FEATURES_TRIED * quota)
        rows = self.run.take("features", (record.first_row + indices).tolist(), ["first_example", "num_examples"])
        rng = np.random.default_rng([kind, record.position])
        found: list[tuple[SAERecord, int, int]] = []
        for index, row in zip(indices.tolist(), rows.to_pylist(), strict=True):
            counts = row["num_examples"]
            if counts[kind] > 0 and len(found) < quota:
                rank = int(rng.integers(counts[kind]))
                found.append((record, index, row["first_example"] + sum(counts[:kind]) + rank))
        return found

    def _recompute(self, examples: list[Example]) -> list[Recomputed]:
        """Each example anew: its sequence from the start through the language model, then the SAE at its token."""
        x_MD = self._residuals_at([e.stored["document"] for e in examples], [e.stored["position"] for e in examples])
        recomputed = []
        for x_D, example in zip(x_MD, examples, strict=True):
            sae, feature = self.saes[example.sae], torch.tensor([example.feature], device=x_MD.device)
            unit = checks.ROUNDING * float((sae.W_enc_FD[example.feature] * sae.standardise(x_D)).norm())
            pre = float(sae.pre_activations(x_D[None], feature))
            recomputed.append(Recomputed(pre, float(sae.encode(x_D[None], feature)), unit))
        return recomputed

    def _residuals_at(self, documents: list[int], positions: list[int]) -> Tensor:
        """The residual stream [M, D] of tokens given by document row and position; each sequence is read once."""
        position_M = np.array(positions)
        start_M = self.cutting.start(position_M)
        sequence_S, of_M = np.unique(pack_tokens(np.array(documents), start_M), return_inverse=True)
        length_M, length_S = position_M - start_M + 1, np.zeros(len(sequence_S), np.int64)
        np.maximum.at(length_S, of_M, length_M)
        document_S, start_S = unpack_tokens(sequence_S)
        opened = self._opened(document_S.tolist(), start_S, length_S)
        x_MD = torch.empty(len(positions), self.model.width, device=self.model.device)
        with track("doctor: examples", int(length_S.sum())) as progress:
            for batch in plan_batches(length_S, BATCH_TOKENS):
                x_BLD = self.model.residuals(torch.from_numpy(pad([opened[s] for s in batch])))
                for x_LD, s in zip(x_BLD, batch, strict=True):
                    mine = np.flatnonzero(of_M == s)
                    x_MD[torch.from_numpy(mine)] = x_LD[torch.from_numpy(length_M[mine])].float()
                progress.advance(int(length_S[batch].sum()))
        return x_MD

    def _opened(self, documents: list[int], start_S: Ints, length_S: Ints) -> list[list[int]]:
        """What the model reads of some sequences: each with its opening token."""
        lead = self.cutting.first
        windows = self.run.windows(documents, (start_S - lead).tolist(), (length_S + lead).tolist())
        return [self.cutting.opened(tokens) for tokens in windows]

    def _check_effects(self) -> Iterator[Check]:
        found = check_effects(self.run, self.model, self._named_saes(), self.cutting)
        if not found:
            log("effects are not compared: none were measured")
        yield from found

    def _check_strengths(self) -> Iterator[Check]:
        found = check_strengths(
            self.run, self.model, self._named_saes(), self.folder, self.record.recipe,
            self.record.corpus["harvest"]["sink_threshold"],
        )  # fmt: skip
        if not found:
            log("curves over strengths are not compared: none were measured")
        yield from found

    def _named_saes(self) -> dict[str, SAE]:
        return dict(zip([sae.name for sae in self.record.saes], self.saes, strict=True))

    def _check_metrics(self) -> Iterator[Check]:
        """Reconstruction of all held-out documents, and losses on a few of their sequences."""
        sequences_S = self._sequences(held_out=True)
        evaluator = self._evaluator()
        measured = evaluator.reconstruct(sequences_S)
        for record in self.record.saes:
            yield from checks.check_metrics(record, measured[record.name])
        sample_S = draw_sequences(sequences_S, checks.LOSS_SEQUENCES, self.record.recipe["seed"] + 1)
        yield from self._check_losses(evaluator.losses(sample_S))

    def _check_losses(self, losses: DocumentLosses) -> Iterator[Check]:
        saes = self.record.saes
        found = [checks.check_loss("the model's own loss", saes[0].metrics, "ce", losses.of_model())]
        for sae in saes:
            found.append(
                checks.check_loss(f"{sae.name}: loss added", sae.metrics, "loss_added", losses.added(sae.name))
            )
        if None in found:
            log("losses are not compared: there are fewer than two held-out documents, so that they have no interval")
        yield from filter(None, found)

    def _evaluator(self) -> Evaluator:
        return Evaluator(
            model=self.model,
            saes=self._named_saes(),
            read=self._read,
            sink_norm=self.record.corpus["harvest"]["sink_threshold"],
            batch_tokens=BATCH_TOKENS,
            title="doctor",
            own=self.own,
        )

    def _counted(self, sequence: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
        document, start, length = sequence
        return self.run.roles([document], [start], [length])[0] >= COUNTED

    def _read(self, sequences_B: Sequences) -> list[list[int]]:
        document_B, start_B, length_B = (sequences_B[name] for name in ("document", "start", "length"))
        return self._opened(document_B.tolist(), start_B, length_B)

    def _sequences(self, *, held_out: bool) -> Sequences:
        """The sequences [S] of all held-out documents, or of all others."""
        fraction, total = self.record.recipe["corpus"]["held_out_fraction"], self.run.count("documents")
        rows_M, lengths_M = [], []
        for first in range(0, total, DOCUMENTS_AT_ONCE):
            rows = range(first, min(first + DOCUMENTS_AT_ONCE, total))
            found = self.run.take("documents", rows, ["document_id", "num_tokens"]).to_pylist()
            for row, document in zip(rows, found, strict=True):
                if is_held_out(document["document_id"], fraction) == held_out:
                    rows_M.append(row)
                    lengths_M.append(document["num_tokens"])
        return whole_documents(np.array(rows_M, np.int64), np.array(lengths_M, np.int64), self.cutting)

    def _check_extremes(self) -> Iterator[Check]:
        """Examples against all tokens of the first batches of the harvest, which are a fair sample of the corpus."""
        config = self.record.recipe["examples"]
        contexts = lru_cache(DOCUMENTS_KEPT)(self._contexts)
        extremes = [
            Extremes(sae, record, Stored.of(self.run, record), config, contexts)
            for sae, record in zip(self.saes, self.record.saes, strict=True)
        ]
        pieces_S = self._sequences(held_out=False)
        batches = plan_batches(pieces_S["length"], self.record.recipe["harvest"]["batch_tokens"])
        ends = np.cumsum([pieces_S["length"][batch].sum() for batch in batches])
        limit = min(EXTREMES_TOKENS, config["max_tokens"] or EXTREMES_TOKENS)
        batches = batches[: max(1, int(np.searchsorted(ends, limit, side="right")))]
        for x_ND, token_N in self._rows([pieces_S[batch] for batch in batches]):
            for one in extremes:
                one.add(x_ND, token_N)
        for one in extremes:
            yield from one.checks()

    def _contexts(self, document: int) -> Ints:
        """Numbers of the contexts of all tokens of a document, by its row [L]."""
        length = self.run.take("documents", [document], ["num_tokens"])["num_tokens"][0].as_py()
        ids_L = np.array(self.run.windows([document], [0], [length])[0], np.int64)
        padded = np.pad(ids_L, CONTEXT_SIDE, constant_values=-1)
        return hash_contexts(np.lib.stride_tricks.sliding_window_view(padded, 2 * CONTEXT_SIDE + 1))

    def _rows(self, batches: list[Sequences]) -> Iterator[tuple[Tensor, Ints]]:
        """Residuals [N, D] of the counted tokens of each batch, as `examples` read them, and their places."""
        threshold = self.record.corpus["harvest"]["sink_threshold"]
        from_shards = self.record.corpus["examples"]["source"] == "shards"  # which hold bfloat16
        with track("doctor: texts", sum(int(chosen["length"].sum()) for chosen in batches)) as progress:
            for chosen in batches:
                x_BLD = self.model.residuals(torch.from_numpy(pad(self._read(chosen))))
                counted_BL = counted(x_BLD, own_positions(chosen, x_BLD.shape[1], self.own), threshold)
                b_N, l_N = (place_N.cpu().numpy() for place_N in torch.nonzero(counted_BL, as_tuple=True))
                x_ND = x_BLD[counted_BL].to(torch.bfloat16) if from_shards else x_BLD[counted_BL]
                yield x_ND, pack_tokens(chosen["document"][b_N], chosen["start"][b_N] + l_N - 1)
                progress.advance(int(chosen["length"].sum()))
