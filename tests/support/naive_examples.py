"""What stage `examples` finds, by a naive implementation: dense, one feature after the other, plain Python."""

from bisect import bisect_right
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import torch

from data.artifacts.features import EXAMPLE_KINDS, bottom_floor, histogram_edges
from pipeline.models.sae import SAE
from pipeline.recipe import ExamplesConfig
from tests.support.planted_examples import Planted, Row


def mix(number: int) -> int:
    mask = 2**64 - 1
    number = (number + 0x9E3779B97F4A7C15) & mask
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & mask
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & mask
    return number ^ (number >> 31)


def hash_of(token: tuple[int, int], feature: int) -> int:
    mask = 2**64 - 1
    mixed = ((mix((token[0] << 32) | token[1]) ^ feature) * 0xFF51AFD7ED558CCD) & mask
    return (((mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53) & mask) >> 32


class Naive:
    def __init__(self, planted: Planted, sae: SAE, config: ExamplesConfig) -> None:
        self.corpus, self.sae, self.config = planted.corpus, sae, config
        self.tokens, x_ND = planted.all_rows()
        pre_NF = (x_ND.double() @ sae.W_enc_FD.double().T + sae.b_enc_F.double()).float()
        if sae.header.nonlinearity == "topk":
            kept_NK = pre_NF.topk(sae.header.k or 0).indices
            chosen_NF = torch.zeros_like(pre_NF, dtype=torch.bool).scatter(1, kept_NK, True) & (pre_NF > 0)
        else:
            chosen_NF = pre_NF > sae.threshold_F
        self.pre_NF = pre_NF.numpy()
        self.inner_edges = histogram_edges(sae.header.activation_scale)[1:-1].tolist()
        self.acts_NF = torch.where(chosen_NF, pre_NF, 0.0).numpy()
        self.place = {token: row for row, token in enumerate(self.tokens)}
        self.ids = [self.id_of(token) for token in self.tokens]
        self.contexts = [self.context_of(token) for token in self.tokens]
        self.num_places = Counter(self.contexts)
        by_id = defaultdict(list)
        for row, token in enumerate(self.tokens):
            by_id[self.ids[row]].append((hash_of(token, 0), row))
        self.sample = {i: [row for _, row in sorted(rows)[: config.contrast_occurrences]] for i, rows in by_id.items()}

    def id_of(self, token: tuple[int, int]) -> int:
        sequence, position = token
        _, start, _ = self.corpus.sequences[sequence].tolist()
        return int(self.corpus.sequence_tokens(sequence)[position - start])

    def context_of(self, token: tuple[int, int]) -> tuple[int, ...]:
        """The token and eight on either side; -1 where the document has none."""
        document = int(self.corpus.sequences[token[0]]["document"])
        tokens = [-1] * 8 + self.corpus.document_tokens(document).tolist() + [-1] * 8
        return tuple(tokens[token[1] : token[1] + 17])

    def distinct(self, rows: list[int]) -> list[int]:
        """The first of each context."""
        first: dict[tuple[int, ...], int] = {}
        for row in rows:
            first.setdefault(self.contexts[row], row)
        return list(first.values())

    def statistics(self) -> list[Row]:
        return [self.statistics_of(feature) for feature in range(self.sae.num_features)]

    def statistics_of(self, feature: int) -> Row:
        active = [float(a) for a in self.acts_NF[:, feature] if a > 0]
        edges = histogram_edges(self.sae.header.activation_scale)
        histogram = [0] * (len(edges) - 1)
        for value in active:
            histogram[self.bin_of(value)] += 1
        return {
            "index": feature,
            "num_active": len(active),
            "density": np.float32(len(active) / len(self.tokens)).item(),
            "max": max(active, default=0.0),
            "mean": np.float32(sum(active) / len(active)).item() if active else 0.0,
            "sum_squares": sum(value**2 for value in active),
            "histogram": histogram,
            "num_above_floor": sum(value >= bottom_floor(self.sae.header.activation_scale) for value in active),
            "band_counts": self.band_counts(active),
        }

    def band_counts(self, active: list[float]) -> list[int]:
        bands = [self.band_of(value, max(active)) for value in active]
        return [bands.count(band) for band in range(self.config.bands)]

    def bin_of(self, value: float) -> int:
        return bisect_right(self.inner_edges, float(value))

    def examples(self) -> list[Row]:
        return [example for feature in range(self.sae.num_features) for example in self.examples_of(feature)]

    def examples_of(self, feature: int) -> list[Row]:
        acts, pre = self.acts_NF[:, feature], self.pre_NF[:, feature]
        active = [row for row in range(len(acts)) if acts[row] > 0]
        best: dict[int, int] = {}
        for row in sorted(active, key=lambda row: (-acts[row], row)):
            best.setdefault(self.document(row), row)
        top = self.distinct(sorted(best.values(), key=lambda row: (-acts[row], row)))[: self.config.top]
        reaches = [row for row in active if acts[row] >= bottom_floor(self.sae.header.activation_scale)]
        bottom = self.distinct(sorted(reaches, key=lambda row: (acts[row], row)))[: self.config.bottom]
        wanted = {self.ids[row] for row in top}
        listed = {self.contexts[row] for row in top}
        sampled = [row for i in wanted for row in self.sample[i] if self.contexts[row] not in listed]
        lowest = self.distinct(sorted(sampled, key=lambda row: (pre[row], row)))[: self.config.contrast]
        interval = sorted(self.interval(feature, active), key=lambda pair: (-acts[pair[0]], pair[0]))
        found = []
        for kind, rows in zip(EXAMPLE_KINDS, (top, bottom, lowest, [row for row, _ in interval]), strict=True):
            for rank, row in enumerate(rows):
                band = interval[rank][1] if kind == "interval" else -1
                found.append(self.example(feature, kind, rank, row, band))
        return found

    def interval(self, feature: int, active: list[int]) -> list[tuple[int, int]]:
        if not active:
            return []
        acts, size = self.acts_NF[:, feature], self.config.per_band
        highest = max(acts[row] for row in active)
        lowest_bin = max(self.bin_of(float(highest / np.float32(self.config.bands))) - 4, 0)
        bins = defaultdict(list)
        for row in active:
            bins[max(self.bin_of(acts[row]), lowest_bin)].append((hash_of(self.tokens[row], feature), row))
        in_band = defaultdict(list)
        for kept in bins.values():
            for key, row in sorted(kept)[: 2 * size]:
                in_band[self.band_of(acts[row], highest)].append((key, row))
        everything = defaultdict(list)
        for row in active:
            everything[self.band_of(acts[row], highest)].append((hash_of(self.tokens[row], feature), row))
        for band, all_there_are in everything.items():
            if len(self.distinct([row for _, row in in_band[band]])) < size:
                in_band[band] = all_there_are
        return [
            (row, band)
            for band, kept in in_band.items()
            for row in self.distinct([row for _, row in sorted(kept)])[:size]
        ]

    def band_of(self, value: Any, highest: Any) -> int:
        return min(int(float(value) / float(highest) * self.config.bands), self.config.bands - 1)

    def place_of(self, example: Row) -> int:
        """The row of an example's token."""
        return next(
            r
            for (s, p), r in self.place.items()
            if p == example["position"] and self.document(r) == example["document"]
        )

    def document(self, row: int) -> int:
        return int(self.corpus.sequences[self.tokens[row][0]]["document"])

    def example(self, feature: int, kind: str, rank: int, row: int, band: int) -> Row:
        sequence, position = self.tokens[row]
        document, first, length = self.corpus.sequences[sequence].tolist()
        start = max(first, position - self.config.context)
        stop = min(first + length, position + self.config.context + 1)
        window = [self.place.get((sequence, p)) for p in range(start, stop)]
        values = [float(self.acts_NF[row, feature]) if row is not None else 0.0 for row in window]
        return {
            "index": feature,
            "kind": EXAMPLE_KINDS.index(kind),  # type: ignore[arg-type]
            "rank": rank,
            "band": band,
            "document": document,
            "document_id": int(self.corpus.document_ids[document]),
            "position": position,
            "start": start,
            "length": stop - start,
            "activation": float(self.acts_NF[row, feature]),
            "pre_activation": float(self.pre_NF[row, feature]),
            "offsets": [offset for offset, value in enumerate(values) if value > 0],
            "values": [value for value in values if value > 0],
            "repeats": self.num_places[self.contexts[row]] - 1,
        }
