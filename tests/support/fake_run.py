"""A small published run that is true: a tiny random Llama, random SAEs, and artifacts worked out naively and densely.

Its tokens and texts are hostile on purpose (markup, control characters, half characters, right-to-left marks), some
features are dead and some have few examples. It goes through the real publish stage, so `monosema doctor` passes on it.

Shapes: N training tokens, F features, D width, V vocabulary.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data.arrow import write_arrow
from data.artifacts.corpus import DOCUMENTS, DOCUMENTS_FILE, TokenizedCorpus, document_id, is_held_out
from data.artifacts.features import (
    CURVE_FILE,
    EXAMPLE_KINDS,
    EXAMPLES,
    EXAMPLES_FILE,
    EXPLANATIONS,
    EXPLANATIONS_FILE,
    HELD_OUT,
    HELD_OUT_FILE,
    MAP,
    MAP_FILE,
    MEANINGS_FILE,
    METRICS_FILE,
    MINOR_NEIGHBOURS,
    NEIGHBOURS_FILE,
    STATISTICS,
    STATISTICS_FILE,
    bottom_floor,
    feature_kinds,
    histogram_edges,
    meanings_schema,
    negligible_features,
    neighbours_schema,
)
from data.artifacts.responses import RESPONSES_FILE
from data.layout import RunPaths, StorePaths
from data.manifests import Manifest, digest, hash_folder, write_manifest
from pipeline.evaluation.held_out import Evaluator
from pipeline.evaluation.losses import DocumentLosses
from pipeline.examples.bands import bands_of
from pipeline.labels.rule import Condition, Rule
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE, SAEHeader
from pipeline.models.sentences import SentenceEncoder
from pipeline.recipe import NO_ENCODER, Recipe, SAEConfig, make_recipe
from pipeline.stages import completeness, effects, neurons, publish, scale
from tests.support.comparison import write_compared
from tests.support.fake_model import EMOJI, HOSTILE, WIDTH, WORDS, make_model
from tests.support.fakes import make_corpus
from tests.support.responses import make_responses
from tests.support.scores import write_scores
from tests.support.strengths import write_strengths

SAES = [
    {"architecture": "relu", "num_features": 64},
    {"architecture": "relu", "num_features": 256},
    {"architecture": "batchtopk", "num_features": 64, "k": 6},
]
LAYER, CONTEXT_LENGTH, NEAREST, WINDOW = 1, 64, 20, 40
MODEL_NAME = "made-up/Tiny-Llama"
DEAD, RARE, MARKED, NEGLIGIBLE = 5, 6, 7, 60
"""Features of every SAE: one never active, one active on two tokens, one whose label is markup, and (of ReLU) one that
is a little above zero on as many tokens as others."""
RARE_TOKENS = 10
FAINT = 1e-3
"""Scale of the negligible feature's activations."""
COPIED, COPIES = 11, 39
"""A feature of every SAE whose strongest example stands in so many other places, as if."""
MEANING, MEANT = 9, "bad weather"
"""A feature of every SAE, and what it means where the recipe names an encoder."""
LONGEST_DOCUMENT = 700
NUM_DOCUMENTS = 24
THINGS = Path(__file__).parent / "things.txt"
"""The concepts that are looked for."""
HELD_OUT_FRACTION = 0.15


def fake_recipe(name: str = "fake", model: str = "tiny", seed: int = 0, **sections: Any) -> Recipe:
    """The recipe of the fake run, with other sections put in."""
    return make_recipe(
        {
            "name": name,
            "seed": seed,
            "corpus": {"source": "text", "path": "texts", "held_out_fraction": HELD_OUT_FRACTION},
            "model": {"name": model, "source": MODEL_NAME, "layer": LAYER, "dtype": "float32"},
            "tokenize": {"context_length": CONTEXT_LENGTH},
            "train": {"saes": SAES},
            "neighbours": {"k": NEAREST},
            "examples": {"rare_tokens": RARE_TOKENS},
            "completeness": {"lists": [str(THINGS)]},
            **sections,
        }
    )


def publish_run(store: StorePaths, name: str, model: str, seed: int) -> str:
    """Make all artifacts of a run and publish it."""
    FakeRun(fake_recipe(name, model, seed), store.run(name)).publish()
    return name


class FakeRun:
    """Makes the artifacts stage by stage."""

    def __init__(self, recipe: Recipe, paths: RunPaths) -> None:
        self.recipe, self.paths = recipe, paths
        self.rng = np.random.default_rng(recipe.seed)
        self.model_folder = paths.store.models / recipe.model.name
        self.vocabulary = make_model(self.model_folder, recipe.seed)
        self.model = LanguageModel.load(self.model_folder, layer=LAYER, dtype="float32")

    def publish(self) -> None:
        self._fetch()
        self.corpus = self._tokenize()
        training, held_out = self.corpus.sequence_numbers(held_out=False), self.corpus.sequence_numbers(held_out=True)
        self.x_ND, self.held_out_ND = self._residuals(training), self._residuals(held_out)
        self.sequence_N = np.repeat(training, self.corpus.sequences["length"][training])
        self.token_N = np.concatenate([self.corpus.sequence_tokens(int(n)) for n in training]).astype(np.int64)
        sequences = self.corpus.sequences[training]
        self.position_N = np.concatenate([np.arange(s, s + n) for _, s, n in sequences.tolist()])
        counts = {"num_rows": len(self.x_ND), "width": WIDTH, "num_left_out": 0, "bos_id": 0, "sink_threshold": 1e3}
        counts["storage"] = "bfloat16"
        self._put("harvest", counts, {"harvest": {"keep_fraction": 0.5}})
        self.saes = [self._sae(config) for config in self.recipe.train.saes]
        self._examples_and_explanations()
        self._train_and_evaluate()
        self._responses()
        effects.run(self.recipe, self.paths)
        neurons.run(self.recipe, self.paths)
        self._meanings()
        self._scores()
        self._comparison()
        completeness.run(self.recipe, self.paths)
        self._strengths()
        self._neighbours_and_map()
        scale.run(self.recipe, self.paths)
        publish.run(self.recipe, self.paths)

    def _fetch(self) -> None:
        counts = {"model": f"models/{self.recipe.model.name}", "model_source": "tiny", "corpus": {"name": "made up"}}
        self._put("fetch", counts)

    def _tokenize(self) -> TokenizedCorpus:
        lengths = [LONGEST_DOCUMENT, 1, *self.rng.integers(5, 300, NUM_DOCUMENTS - 2).tolist()]
        documents = [self._text(length) for length in lengths]
        ids = [document_id("fake", str(i)) for i in range(NUM_DOCUMENTS)]  # those of make_corpus
        held_out = [i for i, document in enumerate(ids) if is_held_out(document, HELD_OUT_FRACTION)]
        corpus = make_corpus(self._folder("tokenize"), documents, CONTEXT_LENGTH, held_out)
        titles = [f"Document {i}" for i in range(NUM_DOCUMENTS)]
        titles[:2] = ["</script><script>alert(4)</script>", "\u202eeltit <b>bold</b>"]
        rows = [
            {**row, "source": title, "meta": json.dumps({"title": title, "url": "javascript:alert(5)"})}
            for row, title in zip(corpus.documents.to_pylist(), titles, strict=True)
        ]
        self._write(self._folder("tokenize") / DOCUMENTS_FILE, DOCUMENTS, rows)
        corpus = TokenizedCorpus(self._folder("tokenize"))
        held_out = corpus.held_out[corpus.sequences["document"]]
        counts = {
            "corpus": "made up & <b>hostile</b>", "bos_id": 0, "vocab_size": len(self.vocabulary),
            "context_length": CONTEXT_LENGTH,
            "num_documents": int((~corpus.held_out).sum()), "num_held_out_documents": int(corpus.held_out.sum()),
            "num_tokens": int(corpus.sequences["length"][~held_out].sum()), "num_sequences": len(corpus.sequences),
            "num_held_out_tokens": int(corpus.sequences["length"][held_out].sum()), "num_split_documents": 5,
        }  # fmt: skip
        self._put("tokenize", counts)
        return corpus

    def _text(self, length: int) -> list[int]:
        """Mostly words, with hostile tokens, single bytes and the two halves of an emoji in between."""
        first = self.vocabulary.index(WORDS[0].encode())
        words = first + self.rng.zipf(1.3, length) % len(WORDS)
        others = self.rng.integers(2, len(self.vocabulary), length)
        tokens = np.where(self.rng.random(length) < 0.75, words, others)
        tokens[4:6] = [self.vocabulary.index(EMOJI[:2]), self.vocabulary.index(EMOJI[2:])][: max(0, length - 4)]
        return tokens.tolist()

    def _residuals(self, sequences: np.ndarray) -> Tensor:
        rows = []
        for number in sequences.tolist():
            tokens = [0, *self.corpus.sequence_tokens(number).tolist()]
            rows.append(self.model.residuals(torch.tensor([tokens]))[0, 1:])
        return torch.cat(rows)

    def _sae(self, config: SAEConfig) -> SAE:
        """Random directions; each feature is active on its highest 5% of tokens."""
        W_FD = self._directions(config)
        mean_D = self.x_ND.mean(0)
        pre_NF = (self.x_ND - mean_D) @ W_FD.T
        cut_F = pre_NF.quantile(0.95, dim=0)
        cut_F[RARE] = pre_NF[:, RARE].topk(3).values[2]
        cut_F[DEAD] = 2 * pre_NF.abs().max()
        jump = config.architecture == "batchtopk"
        scale_F = torch.ones(config.num_features)
        scale_F[NEGLIGIBLE] = 1 if jump else FAINT
        W_enc_FD, cut_F = W_FD * scale_F[:, None], cut_F * scale_F
        offset_F = -W_enc_FD @ mean_D
        header = SAEHeader(
            self.recipe.sae_name(config), config.architecture, "jumprelu" if jump else "relu", config.num_features,
            WIDTH, self.recipe.model.name, LAYER,
            activation_scale=float((self.x_ND - mean_D).square().sum(1).mean().sqrt()),
        )  # fmt: skip
        threshold_F = cut_F if jump else torch.zeros_like(cut_F)
        return SAE(header, W_enc_FD, offset_F if jump else offset_F - cut_F, W_FD, mean_D, threshold_F)

    def _directions(self, config: SAEConfig) -> Tensor:
        """Decoder directions [F, D] of an SAE, norm 1."""
        generator = torch.Generator().manual_seed(self.recipe.seed + config.num_features + (config.k or 0))
        return torch.nn.functional.normalize(torch.randn(config.num_features, WIDTH, generator=generator))

    def _train_and_evaluate(self) -> None:
        metrics, losses = {}, self._losses()
        for sae in self.saes:
            name = sae.header.name
            sae.save(self._folder("train") / name)
            steps = range(0, 3000, 10)
            curve = [
                {"step": s, "tokens": 64 * s, "loss": 100 / (1 + s), "l0": 50 / (1 + s / 100) + 3, "dead_share": 0.01,
                 "explained_variance": s / 4000, "learning_rate": 1e-3}
                for s in steps
            ]  # fmt: skip
            (self._folder("train") / name / CURVE_FILE).write_text(json.dumps(curve))
            metrics[name] = self._metrics(sae) | losses.metrics(name)
        self._folder("evaluate")
        (self._folder("evaluate") / METRICS_FILE).write_text(json.dumps(metrics))
        self._put("train", {"steps": 3000, "seconds": 1.0})
        self._put("evaluate", {"num_tokens": len(self.held_out_ND)})

    def _losses(self) -> DocumentLosses:
        """Of all held-out documents, by the real evaluation: the doctor measures them again."""
        evaluator = Evaluator(
            self.model, {sae.header.name: sae for sae in self.saes},
            read=lambda sequences: [self.corpus.opened(one, 0) for one in sequences.tolist()],
            sink_norm=1e3, batch_tokens=2048, title="fake",
        )  # fmt: skip
        held_out = self.corpus.sequences[self.corpus.sequence_numbers(held_out=True)]
        return evaluator.losses(held_out, self.x_ND.mean(0))

    def _metrics(self, sae: SAE) -> dict[str, Any]:
        x_ND, acts_NF = self.held_out_ND, sae.encode(self.held_out_ND)
        residue = float((x_ND - sae.decode(acts_NF)).double().square().sum())
        total = float((x_ND - x_ND.mean(0)).double().square().sum())
        density_F = (sae.encode(self.x_ND) > 0).double().mean(0).numpy()
        counts, edges = np.histogram(np.log10(np.maximum(density_F[density_F > 0], 1e-8)), bins=16, range=(-8, 0))
        return {
            "explained_variance": 1 - residue / total, "l0": float((acts_NF > 0).sum(1).double().mean()),
            "mse": residue / len(x_ND), "dead_share": float((density_F == 0).mean()), "dead_tokens": len(self.x_ND),
            "num_tokens": len(x_ND),
            "density_histogram": {"log10_edges": edges.tolist(), "counts": counts.tolist()},
        }  # fmt: skip

    def _examples_and_explanations(self) -> None:
        counted = {}
        for sae in self.saes:
            acts_NF, pre_NF = sae.encode(self.x_ND).numpy(), sae.pre_activations(self.x_ND).numpy()
            folder, explained = (self._folder(stage) / sae.header.name for stage in ("examples", "explain"))
            folder.mkdir(exist_ok=True), explained.mkdir(exist_ok=True)
            rows = list(statistics(acts_NF, sae.header.activation_scale, self.recipe.examples.bands))
            self._write(folder / STATISTICS_FILE, STATISTICS, rows)
            floor = bottom_floor(sae.header.activation_scale)
            examples = [row for f in range(sae.num_features) for row in self._examples(f, acts_NF, pre_NF, floor)]
            self._write(folder / EXAMPLES_FILE, EXAMPLES, examples)
            self._write(explained / EXPLANATIONS_FILE, EXPLANATIONS, list(self._explanations(sae, acts_NF, examples)))
            self._write(explained / HELD_OUT_FILE, HELD_OUT, list(self._held_out(acts_NF)))
            num_dead = int((acts_NF.max(0) == 0).sum())
            counted[sae.header.name] = {
                "dead_share": num_dead / sae.num_features, "num_dead": num_dead, "num_examples": len(examples),
                "num_negligible": int(negligible_features(np.array([row["sum_squares"] for row in rows])).sum()),
            }  # fmt: skip
        self._put("examples", {"num_tokens": len(self.x_ND), "source": "model", "saes": counted})
        self._put("explain", {})

    def _examples(
        self, feature: int, acts_NF: np.ndarray, pre_NF: np.ndarray, floor: float
    ) -> Iterator[dict[str, Any]]:
        """All examples of one feature, sorted by kind and rank; naive, as the design defines them."""
        acts_N, pre_N, config = acts_NF[:, feature], pre_NF[:, feature], self.recipe.examples
        active = np.flatnonzero(acts_N > 0)
        by_activation = active[np.argsort(-acts_N[active], kind="stable")]
        document_N = self.corpus.sequences["document"][self.sequence_N]
        firsts = np.sort(np.unique(document_N[by_activation], return_index=True)[1])
        top = by_activation[firsts][: config.top]
        others = np.setdiff1d(np.flatnonzero(np.isin(self.token_N, self.token_N[top])), top)
        band_N = np.minimum(acts_N / max(acts_N.max(), 1e-9) * config.bands, config.bands - 1).astype(int)
        interval = np.concatenate([by_activation[:0], *(
            self.rng.permutation(active[band_N[active] == band])[: config.per_band] for band in range(config.bands)
        )])  # fmt: skip
        chosen = {
            "top": top,
            "bottom": by_activation[acts_N[by_activation] >= floor][::-1][: config.bottom],
            "contrast": others[np.argsort(pre_N[others], kind="stable")][: config.contrast],
            "interval": interval[np.argsort(-acts_N[interval], kind="stable")],
        }
        for kind, name in enumerate(EXAMPLE_KINDS):
            for rank, n in enumerate(chosen[name].tolist()):
                band = int(band_N[n]) if name == "interval" else -1
                repeats = COPIES if (feature, name, rank) == (COPIED, "top", 0) else 0
                found = {"index": feature, "kind": kind, "rank": rank, "band": band, "repeats": repeats}
                yield {**found, "pre_activation": float(pre_N[n]), **self._window(n, acts_N)}

    def _window(self, n: int, acts_N: np.ndarray) -> dict[str, Any]:
        document, first, length = self.corpus.sequences[self.sequence_N[n]].tolist()
        position = int(self.position_N[n])
        start, stop = max(first, position - WINDOW), min(first + length, position + WINDOW + 1)
        window = acts_N[n - (position - start) : n + (stop - position)]
        offsets = np.flatnonzero(window > 0)
        return {
            "document": document, "document_id": int(self.corpus.document_ids[document]), "position": position,
            "start": start, "length": stop - start, "activation": float(acts_N[n]), "offsets": offsets.tolist(),
            "values": window[offsets].tolist(),
        }  # fmt: skip

    def _explanations(self, sae: SAE, acts_NF: np.ndarray, examples: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        scale_D, W_U_VD = self.model.unembedding()
        logits_FV = (sae.W_dec_FD * scale_D) @ W_U_VD.T
        promoted, suppressed = logits_FV.topk(10), (-logits_FV).topk(10)
        tops: dict[int, list[int]] = {}
        for row in examples:
            if row["kind"] == EXAMPLE_KINDS.index("top"):
                peak = int(self.corpus.document_tokens(row["document"])[row["position"]])
                tops.setdefault(row["index"], []).append(peak)
        for f in range(sae.num_features):
            token, top = int(self.token_N[acts_NF[:, f].argmax()]), tops.get(f, [])
            strongest = self.vocabulary[token].decode("utf-8", "replace")
            label = '<svg onload=alert(6)> "quoted" & more' if f == MARKED else strongest.strip() or "white space"
            yield {
                "index": f, "label": label if acts_NF[:, f].max() > 0 else "", "label_origin": "statistics",
                **self._tried(token, top), "top_words": [strongest.strip()] if top else [], "specificity": None,
                "promoted": promoted.indices[f].tolist(), "promoted_logits": promoted.values[f].tolist(),
                "suppressed": suppressed.indices[f].tolist(), "suppressed_logits": (-suppressed.values[f]).tolist(),
            }  # fmt: skip

    def _tried(self, token: int, top: list[int]) -> dict[str, Any]:
        """As if the label had been tried: right as often as top examples peak on the token, it covers half."""
        if not top:
            return {"label_score": None, "label_precision": None, "label_recall": None, "label_said": None,
                    "label_levels": [], "label_rule": "", "label_tested": ""}  # fmt: skip
        right, word = top.count(token) / len(top), self.vocabulary[token].decode("utf-8", "replace").strip()
        rule = Rule((Condition("here", "word", (word.casefold(),)),)).to_json()
        return {"label_score": 2 * right * 0.5 / (right + 0.5), "label_precision": right, "label_recall": 0.5,
                "label_said": 40, "label_levels": [0.5, 0.6, 0.7, 0.8, None], "label_rule": rule,
                "label_tested": "held-out"}  # fmt: skip

    def _held_out(self, acts_NF: np.ndarray) -> Iterator[dict[str, Any]]:
        """The tokens on which each feature is active, as if the corpus were held out."""
        for acts_N in acts_NF.T:
            yield {"tokens": np.flatnonzero(acts_N > 0).tolist()}

    def _responses(self) -> None:
        """As if something had been written, of the features from MARKED on."""
        sae, openings = self.saes[0].header.name, self.recipe.respond.openings
        hostile = f" <b>music</b>{HOSTILE[0]}\u202e\x00 <b>music</b>"
        shown = make_responses(sae, hostile, first=MARKED, openings=openings[:2])
        best = {sae: {str(one.index): one.best_strength for one in (*shown.chats, *shown.openings)}}
        found = {"shown": shown.as_json(), "best_strengths": best, "measured": []}
        (self._folder("respond") / RESPONSES_FILE).write_text(json.dumps(found))
        self._put("respond", {})

    def _meanings(self) -> None:
        """None, unless the recipe names an encoder: then one feature of each SAE means MEANT."""
        if self.recipe.embed.source == NO_ENCODER:
            self._put("embed", {"encoder": None, "num_features": 0})
            return
        encoder = SentenceEncoder.load(Path(self.recipe.embed.source))
        schema = meanings_schema(encoder.width)
        first_rows = np.cumsum([0, *(sae.num_features for sae in self.saes[:-1])])
        rows = [{"row": int(row) + MEANING, "vector": encoder.encode([MEANT])[0].tolist()} for row in first_rows]
        self._write(self._folder("embed") / MEANINGS_FILE, schema, rows)
        self._put("embed", {"encoder": self.recipe.embed.source, "width": encoder.width, "num_features": len(rows)})

    def _scores(self) -> None:
        """As if two judges had been asked about a few features: one that is right, and one that guesses."""
        sizes = {sae.header.name: sae.num_features for sae in self.saes}
        self._put("score", write_scores(self._folder("score"), self._folder("examples"), list(sizes)))

    def _strengths(self) -> None:
        """As if three features of every SAE had been held."""
        names = [sae.header.name for sae in self.saes]
        words = tuple(self.vocabulary.index(word.encode()) for word in (WORDS[0], HOSTILE[0]))
        hostile = f"<b>river</b>{HOSTILE[0]}\u202e"
        self._put("strengths", write_strengths(self._folder("strengths"), names, hostile, words))

    def _comparison(self) -> None:
        """As if some features and neurons had been drawn, and scored by the same judges."""
        sizes = [sae.header.name for sae in self.saes]
        self._put("compare", write_compared(self._folder("compare"), self._folder("examples"), sizes, LAYER))

    def _neighbours_and_map(self) -> None:
        W_RD = torch.cat([sae.W_dec_FD for sae in self.saes])
        sizes = [sae.num_features for sae in self.saes]
        acts = [sae.encode(self.x_ND).double().numpy() for sae in self.saes]
        kinds = [feature_kinds((a_NF > 0).sum(0), np.square(a_NF).sum(0), RARE_TOKENS) for a_NF in acts]
        live_R, minor_R = (np.concatenate(masks) for masks in zip(*((k.live_F, k.minor_F) for k in kinds), strict=True))
        cosines_RR = (W_RD @ W_RD.T).fill_diagonal_(-2)
        rows = {}
        for kind, among_R, count in (("", live_R, NEAREST), ("minor_", minor_R, min(NEAREST, MINOR_NEIGHBOURS))):
            among_RR = cosines_RR.masked_fill(torch.from_numpy(~among_R), -2)
            parts = [part.topk(count, dim=1) for part in among_RR.split(sizes, dim=1)]
            cosines, indices = torch.cat([p.values for p in parts], 1), torch.cat([p.indices for p in parts], 1)
            rows[f"{kind}indices"] = indices.masked_fill(cosines == -2, -1)
            rows[f"{kind}cosines"] = cosines.masked_fill(cosines == -2, 0)
        schema = neighbours_schema(len(sizes), NEAREST)
        self._folder("neighbours")
        write_arrow(
            self._folder("neighbours") / NEIGHBOURS_FILE,
            schema,
            [
                pa.record_batch(
                    {name: pa.array(v.tolist(), schema.field(name).type) for name, v in rows.items()}, schema
                )
            ],
        )
        places_RD = torch.pca_lowrank(W_RD, q=2)[0].numpy()
        points = [
            {"row": r, "x": float(places_RD[r, 0]), "y": float(places_RD[r, 1])}
            for r in np.flatnonzero(live_R | minor_R).tolist()
        ]
        self._write(self._folder("project") / MAP_FILE, MAP, points)
        self._put("neighbours", {})
        self._put("project", {"num_points": len(points)})

    def _folder(self, stage: str) -> Path:
        folder = self.paths.stage(stage)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _write(self, path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
        write_arrow(path, schema, pa.Table.from_pylist(rows, schema).to_batches())

    def _put(self, stage: str, counts: dict[str, Any], config: dict[str, Any] | None = None) -> None:
        folder = self._folder(stage)
        key = digest({"stage": stage, "recipe": self.recipe.model_dump(mode="json")})
        manifest = Manifest(
            stage=stage, key=key, config=config or {}, inputs={}, seed=self.recipe.seed, counts=counts,
            files=hash_folder(folder), code_version="fake", seconds=0.0, created="2026-01-01T00:00:00+00:00",
        )  # fmt: skip
        write_manifest(folder, manifest)


def statistics(acts_NF: np.ndarray, scale: float, num_bands: int) -> Iterator[dict[str, Any]]:
    edges = histogram_edges(scale)
    for index, acts_N in enumerate(acts_NF.T):
        active = acts_N[acts_N > 0]
        counts = np.histogram(np.clip(active, edges[0], edges[-1] * (1 - 1e-9)), edges)[0]
        yield {
            "index": index, "num_active": len(active), "density": len(active) / len(acts_N),
            "histogram": counts.tolist(), "max": float(active.max(initial=0)),
            "mean": float(active.mean()) if len(active) else 0.0,
            "sum_squares": float(np.square(active, dtype=np.float64).sum()),
            "num_above_floor": int((active >= bottom_floor(scale)).sum()),
            "band_counts": np.bincount(bands_of(active, active.max(initial=0), num_bands), minlength=num_bands),
        }  # fmt: skip
