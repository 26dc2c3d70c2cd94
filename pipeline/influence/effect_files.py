"""The effects of features as tables of the artifact, see EFFECTS and READINGS in data/artifacts/effects.py.

Shapes: M cases, N features that were measured, F features of one SAE, K tokens kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from data.artifacts.effects import EFFECTS, READINGS
from pipeline.arrays import Floats, Ints, Mask
from pipeline.influence.effect_cases import Cases
from pipeline.influence.effects import Effects
from pipeline.models.attribution import NO_TOKEN, MovedTokens

Reading = dict[str, Any]
"""A row of READINGS."""


class Moves(NamedTuple):
    """MovedTokens of all cases, as arrays [M, K]."""

    token_MK: Ints
    with_MK: Floats
    without_MK: Floats

    @classmethod
    def of(cls, chunks: Sequence[MovedTokens]) -> "Moves":
        """All chunks together."""
        return cls._make(_whole(list(column)) for column in zip(*chunks, strict=True))


class EffectArrays(NamedTuple):
    """The effects of all features that were measured, and of their cases."""

    raised_NK: Ints
    raised_change_NK: Floats
    lowered_NK: Ints
    lowered_change_NK: Floats
    kl_M: Floats
    raised_M: Moves
    lowered_M: Moves

    @classmethod
    def of(cls, chunks: Sequence[Effects]) -> "EffectArrays":
        """All chunks together."""
        return cls(
            raised_NK=_whole([chunk.raised_NK for chunk in chunks]),
            raised_change_NK=_whole([chunk.raised_change_NK for chunk in chunks]),
            lowered_NK=_whole([chunk.lowered_NK for chunk in chunks]),
            lowered_change_NK=_whole([chunk.lowered_change_NK for chunk in chunks]),
            kl_M=_whole([chunk.kl_C for chunk in chunks]),
            raised_M=Moves.of([chunk.raised_C for chunk in chunks]),
            lowered_M=Moves.of([chunk.lowered_C for chunk in chunks]),
        )


def effects_table(cases: Cases, found: EffectArrays | None, sae: int, readings: Ints) -> pa.Table:
    """EFFECTS of one SAE. found: None when nothing was measured; readings: how many each of its features has [F]."""
    num_features = len(readings)
    columns: dict[str, pa.Array] = {}
    measured_F = np.zeros(num_features, np.int64)
    number_F = np.full(num_features, -1, np.int64)
    if found is not None:
        mine_M = np.flatnonzero(cases.sae_M == sae)
        index_M = cases.index_M[mine_M]
        measured_F = np.bincount(index_M, minlength=num_features)
        number_F[index_M] = cases.feature_M[mine_M]
    for name in ("raised", "lowered"):
        tokens, changes, counts_F = _moved_columns(found, name, number_F)
        columns[name] = _lists(counts_F, tokens, pa.int32())
        columns[f"{name}_change"] = _lists(counts_F, changes, pa.float32())
    columns["index"] = pa.array(np.arange(num_features), pa.int32())
    columns["num_measured"] = pa.array(measured_F, pa.int16())
    columns["num_readings"] = pa.array(readings, pa.int16())
    return pa.table([columns[name] for name in EFFECTS.names], schema=EFFECTS)


def readings_table(cases: Cases, found: EffectArrays | None, sae: int, coloured: Sequence[Reading]) -> pa.Table:
    """READINGS of one SAE: the measured cases, and the coloured examples, which take the place of equal ones."""
    plain = READINGS.empty_table() if found is None else _measured_readings(cases, found, sae)
    taken = {(row["index"], row["rank"]) for row in coloured}
    pairs = zip(plain["index"].to_pylist(), plain["rank"].to_pylist(), strict=True)
    double_M = np.array([pair in taken for pair in pairs], bool)
    measured = {pair for pair in taken if pair in set(_pairs(plain.filter(pa.array(double_M))))}
    rows = [{**row, "measured": (row["index"], row["rank"]) in measured} for row in coloured]
    table = pa.concat_tables([plain.filter(pa.array(~double_M)), pa.Table.from_pylist(rows, READINGS)])
    return table.sort_by([("index", "ascending"), ("rank", "ascending")])


def count_readings(readings: pa.Table, num_features: int) -> Ints:
    """Rows of every feature [F]."""
    return np.bincount(readings["index"].to_numpy(), minlength=num_features).astype(np.int64)


def moved_lists(moved: Mapping[str, Sequence[Any]]) -> Reading:
    """Columns of READINGS of lists of Moved by name: raised, lowered."""
    return {
        **{name: [one.token for one in found] for name, found in moved.items()},
        **{f"{name}_with": [one.log_probability for one in found] for name, found in moved.items()},
        **{f"{name}_without": [one.without for one in found] for name, found in moved.items()},
    }


def _pairs(table: pa.Table) -> list[tuple[int, int]]:
    return list(zip(table["index"].to_pylist(), table["rank"].to_pylist(), strict=True))


def _measured_readings(cases: Cases, found: EffectArrays, sae: int) -> pa.Table:
    mine_M = np.flatnonzero(cases.sae_M == sae)
    columns: dict[str, pa.Array] = {
        "index": pa.array(cases.index_M[mine_M], pa.int32()),
        "rank": pa.array(cases.rank_M[mine_M], pa.int16()),
        "measured": pa.array(np.ones(len(mine_M), bool)),
        "kl": pa.array(found.kl_M[mine_M], pa.float32()),
    }
    for name, moves in (("raised", found.raised_M), ("lowered", found.lowered_M)):
        kept_MK = moves.token_MK[mine_M] != NO_TOKEN
        counts_M = kept_MK.sum(1)
        columns[name] = _lists(counts_M, moves.token_MK[mine_M][kept_MK], pa.int32())
        columns[f"{name}_with"] = _lists(counts_M, moves.with_MK[mine_M][kept_MK], pa.float32())
        columns[f"{name}_without"] = _lists(counts_M, moves.without_MK[mine_M][kept_MK], pa.float32())
    missing = {field.name: pa.nulls(len(mine_M), field.type) for field in READINGS if field.name not in columns}
    return pa.table([(columns | missing)[name] for name in READINGS.names], schema=READINGS)


def _moved_columns(
    found: EffectArrays | None, name: str, number_F: Ints
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic], Ints]:
    """Tokens and changes of all features of an SAE one after the other, and how many each has [F]."""
    counts_F = np.zeros(len(number_F), np.int64)
    if found is None:
        return np.zeros(0, np.int64), np.zeros(0, np.float32), counts_F
    raised, lowered = (found.raised_NK, found.raised_change_NK), (found.lowered_NK, found.lowered_change_NK)
    token_NK, change_NK = raised if name == "raised" else lowered
    mine_F = number_F >= 0
    token_NK, change_NK = token_NK[number_F[mine_F]], change_NK[number_F[mine_F]]
    kept_NK: Mask = change_NK > 0 if name == "raised" else change_NK < 0
    counts_F[mine_F] = kept_NK.sum(1)
    return token_NK[kept_NK], change_NK[kept_NK], counts_F


def _lists(counts_N: Ints, values: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(counts_N)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, kind))


def _whole(parts: Sequence[Tensor]) -> npt.NDArray[Any]:
    return np.concatenate([part.cpu().numpy() for part in parts])
