"""Checks by `monosema doctor` of a published run, one function for each claim.

Every check computes something anew, from the published folder and the language model alone, and counts how much of it
agrees with what is published.

Shapes: M examples or features of a sample, D width, F features.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from rich.table import Table

from data.artifacts.features import EXAMPLE_KINDS
from data.errors import ArtifactError
from data.manifests import check_hashes
from data.published.state import Published, read_rows
from data.published.tables import PublishedRun
from data.sql.records import PublishedRunRecord, SAERecord
from pipeline.evaluation.intervals import CONFIDENCE, Estimate, t_quantile
from pipeline.evaluation.metrics import Reconstruction
from pipeline.models.sae import SAE

NUM_EXAMPLES = 200
"""Stored activations that are recomputed, shared out over SAEs and kinds."""
NORM_TOLERANCE = 1e-4
ROUNDING = 2.0**-8
"""Distance between neighbouring bfloat16 values, relative."""
ACTIVATION_TOLERANCE = {"bfloat16": 48.0, "float16": 8.0, "float32": 4.0}
"""Allowed deviation of an activation by the model's dtype, in roundings of x.

One rounding is ROUNDING * |w * x| (the elementwise product with the feature's encoder row): about what an independent
relative error of ROUNDING in each dimension of x does to w . x. A stored row was rounded once at least. In bfloat16
every layer before rounds as well, and differently so in another shape of batch: measured on the sample, layer 14,
between batches of 4 x 512 and single sequences of 40 to 512 tokens, 96,000 activations differ by 12 at most, 99.9% of
them by less than 8 (AVX-512); of 1,500 examples of the demo by 30 at most, 99% by less than 11 (AMX). The activation of
another example of the same kind differs by 300 to 400 in the middle.
"""
VARIANCE_TOLERANCE = 0.005
L0_TOLERANCE = 0.01
LOSS_SEQUENCES = 8
"""Losses are measured again on one sequence of each of so many held-out documents."""
LOSS_CONFIDENCE = 0.999
"""Two samples of documents differ by more than the tolerance once in a thousand times."""
LOSS_ROUNDING = 0.002
"""Nats per token by which batches of another shape alone change a loss."""


class Check(NamedTuple):
    """One claim about a published run."""

    what: str
    agree: int
    total: int
    tolerance: str
    found: str
    """Measurements: deviations, correlation."""

    @property
    def holds(self) -> bool:
        return self.agree == self.total > 0


class Example(NamedTuple):
    """A published example, and the feature it was found by."""

    sae: int
    """Position of the SAE in the run."""
    feature: int
    """Its index in the SAE."""
    feature_row: int
    """Its row in table `features`."""
    stored: dict[str, Any]
    """Its row in table `examples`."""
    document_id: int
    """Of that document row, by table `documents`."""


class Recomputed(NamedTuple):
    """Values that one example gives now."""

    pre_activation: float
    activation: float
    unit: float
    """ROUNDING * |w * x|: see ACTIVATION_TOLERANCE."""


def check_files(published: Published) -> Check:
    """Every file of the published folder has the hash it was written with (all bytes are read)."""
    total = len(published.manifest.files)
    try:
        check_hashes(published.folder, published.manifest)
    except ArtifactError as error:
        return Check("files", 0, total, "same SHA-256", str(error))
    return Check("files", total, total, "same SHA-256", "")


def check_rows(published: Published) -> Check:
    """SQL holds what was published."""
    rows = read_rows(published.folder)
    record = published.record
    pairs: list[tuple[PublishedRunRecord | SAERecord, dict[str, Any]]] = [(record, rows["run"])]
    pairs += list(zip(record.saes, rows["saes"], strict=False))
    differ = [
        f"{getattr(entry, 'name', '')}.{name}"
        for entry, values in pairs
        for name, value in values.items()
        if name != "created" and getattr(entry, name) != value
    ]
    total = 1 + max(len(record.saes), len(rows["saes"]))
    wrong = len({name.partition(".")[0] for name in differ}) + abs(len(record.saes) - len(rows["saes"]))
    return Check("rows in SQL", total - wrong, total, "equal", ", ".join(differ))


def check_norms(name: str, sae: SAE) -> Check:
    """Decoder directions have norm 1."""
    deviation_F = (sae.W_dec_FD.norm(dim=1) - 1).abs()
    agree = int((deviation_F <= NORM_TOLERANCE).sum())
    found = f"max {float(deviation_F.max()):.1e}"
    return Check(f"{name}: decoder norms", agree, sae.num_features, f"1 ± {NORM_TOLERANCE:g}", found)


def check_vectors(record: SAERecord, sae: SAE, run: PublishedRun) -> Check:
    """Published vectors are the decoder's rows, of the features they are published for."""
    index_M = some(sae.num_features, NUM_EXAMPLES)
    table = run.take("features", (record.first_row + index_M).tolist(), ["sae", "index", "vector"])
    vectors_MD = torch.tensor(table["vector"].to_pylist())
    same_M = (vectors_MD == sae.W_dec_FD[torch.from_numpy(index_M)].cpu()).all(1).numpy()
    same_M &= np.array([name == record.name for name in table["sae"].to_pylist()])
    same_M &= np.array(table["index"].to_pylist()) == index_M
    return Check(f"{record.name}: vectors", int(same_M.sum()), len(same_M), "equal", "")


def check_examples(
    name: str, sae: SAE, tolerance: float, examples: list[Example], recomputed: list[Recomputed]
) -> Check:
    """Stored activations of one SAE's examples come out again, at the tokens and features that they are named by."""
    if not examples:
        return Check(f"{name}: activations", 0, 0, "", "not one feature has an example")
    stored_M = np.array([example.stored["pre_activation"] for example in examples])
    new_M = np.array([new.pre_activation for new in recomputed])
    share_M = np.abs(stored_M - new_M) / np.array([new.unit for new in recomputed])
    agree = [
        share <= tolerance and _is_consistent(example) and _has_activation(example, new, sae, tolerance * new.unit)
        for share, example, new in zip(share_M.tolist(), examples, recomputed, strict=True)
    ]
    correlation = np.corrcoef(stored_M, new_M)[0, 1] if len(examples) > 1 else 1.0
    found = f"max {share_M.max():.2g}, median {np.median(share_M):.2g}, Pearson {correlation:.6f}"
    return Check(f"{name}: activations", sum(agree), len(agree), f"{tolerance:g} roundings", found)


def _is_consistent(example: Example) -> bool:
    """The example belongs to its feature and its document, and its window holds its activation."""
    stored = example.stored
    window = dict(zip(stored["offsets"], stored["values"], strict=True))
    return bool(
        stored["row"] == example.feature_row
        and stored["document_id"] == example.document_id
        and stored["activation"] == window.get(stored["position"] - stored["start"], 0.0)
        and (stored["activation"] > 0 or EXAMPLE_KINDS[stored["kind"]] == "contrast")
    )


def _has_activation(example: Example, new: Recomputed, sae: SAE, tolerance: float) -> bool:
    """The activation too, not only what the nonlinearity makes it of.

    One of the two may be 0 where rounding decides: at the threshold, or for topk, by the other features of the token.
    """
    stored = example.stored["activation"]
    if abs(stored - new.activation) <= tolerance:
        return True
    at_threshold = abs(new.pre_activation - float(sae.threshold_F[example.feature])) <= tolerance
    return min(stored, new.activation) == 0 and (at_threshold or sae.header.nonlinearity == "topk")


def check_metrics(record: SAERecord, measured: Reconstruction) -> list[Check]:
    """Explained variance and L0 come out again from all held-out documents; none of what these are too few for."""
    variance, l0 = measured.explained_variance(), measured.l0()
    was_variance, was_l0 = record.metrics["explained_variance"], record.metrics["l0"]
    found = []
    if variance is not None and was_variance is not None:
        fits, text = abs(variance - was_variance) <= VARIANCE_TOLERANCE, f"{variance:.4f}, published {was_variance:.4f}"
        found.append(Check(f"{record.name}: explained variance", int(fits), 1, f"± {VARIANCE_TOLERANCE:g}", text))
    if l0 is not None and was_l0 is not None:
        fits, text = abs(l0 - was_l0) <= L0_TOLERANCE * was_l0, f"{l0:.2f}, published {was_l0:.2f}"
        found.append(Check(f"{record.name}: L0", int(fits), 1, f"± {L0_TOLERANCE:.0%}", text))
    return found


def check_loss(what: str, metrics: Mapping[str, Any], name: str, measured: Estimate) -> Check | None:
    """A loss on another sample of held-out documents lies within the published interval, widened by the sample's own.

    The difference of the two is held against its standard error, which is sqrt(a^2 + b^2) of both, at LOSS_CONFIDENCE
    by Welch's t. Samples that share documents differ by less, so that a small corpus fails no more often. None where
    one of the two has one document alone, and so no interval.
    """
    interval, again = metrics[f"{name}_ci"], measured.standard_error
    if interval is None or again is None:
        return None
    degrees = np.array([metrics["num_ce_documents"], measured.num_documents]) - 1.0
    errors = np.array([(interval[1] - interval[0]) / 2 / t_quantile(CONFIDENCE, degrees[0]), again])
    if errors.any():
        freedom = float(np.square(errors).sum() ** 2 / (errors**4 / degrees).sum())
        tolerance = t_quantile(LOSS_CONFIDENCE, freedom) * float(np.hypot(*errors))
    else:
        tolerance = 0.0
    fits = abs(measured.value - metrics[name]) <= tolerance + LOSS_ROUNDING
    found = f"{measured.value:.3f} on {measured.num_documents} other draws, published {metrics[name]:.3f}"
    return Check(what, int(fits), 1, f"± {tolerance:.2g} nats (99.9%)", found)


def some(total: int, count: int) -> npt.NDArray[np.int64]:
    """At most `count` different numbers below `total`, always the same ones."""
    return np.random.default_rng(total).permutation(total)[:count]


def report(run: str, found: list[Check]) -> Table:
    """One line for each check."""
    table = Table(title=f"run '{run}'")
    for column in ("what", "agree", "tolerance", "found", "verdict"):
        table.add_column(column, justify="right" if column == "agree" else "left")
    for check in found:
        verdict = "[green]holds[/]" if check.holds else "[bold red]DOES NOT HOLD[/]"
        table.add_row(check.what, f"{check.agree:,} of {check.total:,}", check.tolerance, check.found, verdict)
    return table
