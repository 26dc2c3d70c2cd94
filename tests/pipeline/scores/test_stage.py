"""Stage `score` on planted features: a label that is right gets high scores, one that is shuffled low ones."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.arrow import read_arrow, write_arrow
from data.artifacts.candidates import CANDIDATES_FILE, ORIGINS, TRIED_FILE, CandidateReport
from data.artifacts.corpus import TokenizedCorpus
from data.artifacts.effects import EFFECTS, EFFECTS_FILE
from data.artifacts.features import (
    EXAMPLES,
    EXAMPLES_FILE,
    EXPLANATIONS,
    EXPLANATIONS_FILE,
    HELD_OUT,
    HELD_OUT_FILE,
    STATISTICS,
    STATISTICS_FILE,
    TOP,
)
from data.artifacts.labels import read_labels
from data.artifacts.responses import RESPONSES_FILE, Responses
from data.artifacts.scores import JUDGED_FILE, SCORES_FILE, TASK_NAMES, read_judges
from data.layout import RunPaths, StorePaths
from pipeline.activations.held_out import LABEL_TOKENS, draw_held_out
from pipeline.activations.residuals import ResidualBlock
from pipeline.judges.cache import AnswerCache
from pipeline.judges.making import Materials, make_judge
from pipeline.judges.protocol import Judge, Question
from pipeline.judges.tasks import TASKS
from pipeline.labels.rule import Condition, Rule
from pipeline.models.sae import SAE, SAEHeader
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import Recipe, make_recipe
from pipeline.recipe.judging import JudgeConfig
from pipeline.scores import asking
from pipeline.scores.asking import Interview
from pipeline.stages import score
from tests.support.chat_model import make_chat_model
from tests.support.fake_run import statistics
from tests.support.fakes import make_corpus, put_manifest
from tests.support.judges import FunctionProposer

LETTERS = "bcdfghjk"
"""Feature f is active where LETTERS[f] stands alone; its activation differs from token to token."""
NAME = "0-relu-8"
NUM_EXAMPLES = 4
SHUFFLED = 3
"""The feature that has the label of the next one."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    paths = StorePaths(tmp_path_factory.mktemp("store")).run("planted")
    model = make_chat_model(paths.store.models / "tiny")
    vocabulary = Tokenizer.load(model).token_bytes()
    ids = [vocabulary.index(letter.encode()) for letter in LETTERS]
    space = vocabulary.index(b" ")
    rng = np.random.default_rng(0)
    documents = [
        [token for letter in rng.integers(len(ids), size=50) for token in (ids[letter], space)] for _ in range(30)
    ]
    corpus = make_corpus(paths.stage("tokenize"), documents, 101, range(8))
    counts = {"bos_id": 0, "vocab_size": len(vocabulary), "context_length": 101}
    put_manifest(paths, "tokenize", counts)
    put_manifest(paths, "fetch", {"model": "models/tiny", "model_name": "Tiny"})
    put_manifest(paths, "harvest", {"num_tokens": 2200})
    _features(paths, corpus, ids)
    return paths


def residuals(corpus: TokenizedCorpus, ids: list[int]) -> tuple[torch.Tensor, np.ndarray]:
    """One dimension for each letter, of random height [N, 8], and the names of the rows."""
    rng = np.random.default_rng(1)
    rows, names = [], []
    for number in corpus.sequence_numbers(held_out=False).tolist():
        _, start, _length = corpus.sequences[number].tolist()
        for offset, token in enumerate(corpus.sequence_tokens(number).tolist()):
            row = np.zeros(len(ids), np.float32)
            if token in ids:
                row[ids.index(token)] = 0.1 + rng.random()
            rows.append(row)
            names.append((0, number, start + offset))
    dtype = np.dtype([("document_id", "<i8"), ("sequence", "<i4"), ("position", "<i4")])
    return torch.from_numpy(np.array(rows)), np.array(names, dtype)


def _features(paths: RunPaths, corpus: TokenizedCorpus, ids: list[int]) -> None:
    W_FD = torch.eye(len(ids))
    header = SAEHeader(NAME, "relu", "relu", len(ids), len(ids), "tiny", 0)
    SAE(header, W_FD.clone(), torch.zeros(len(ids)), W_FD, torch.zeros(len(ids)), torch.zeros(len(ids))).save(
        paths.stage("train") / NAME
    )
    put_manifest(paths, "train", {})
    x_ND, _ = residuals(corpus, ids)
    write(paths.stage("examples") / NAME / STATISTICS_FILE, STATISTICS, list(statistics(x_ND.numpy(), 1.0, 5)))
    write(paths.stage("examples") / NAME / EXAMPLES_FILE, EXAMPLES, examples(corpus, ids))
    put_manifest(paths, "examples", {})
    labels = [LETTERS[f + (f == SHUFFLED)] for f in range(len(ids))]
    rows = [explanation(f, label) for f, label in enumerate(labels)]
    write(paths.stage("explain") / NAME / EXPLANATIONS_FILE, EXPLANATIONS, rows)
    write(paths.stage("explain") / NAME / HELD_OUT_FILE, HELD_OUT, held_out_rows(corpus, ids))
    put_manifest(paths, "explain", {})
    paths.stage("respond").mkdir()
    responses = {"shown": Responses(None).as_json(), "best_strengths": {NAME: {"6": 1.0}}}
    (paths.stage("respond") / RESPONSES_FILE).write_text(json.dumps(responses))
    put_manifest(paths, "respond", {})
    empty = {name: [] for name in ("raised", "raised_change", "lowered", "lowered_change")}
    effects = [{**empty, "index": f, "num_measured": 0, "num_readings": 0} for f in range(len(ids))]
    write(paths.stage("effects") / NAME / EFFECTS_FILE, EFFECTS, effects)
    put_manifest(paths, "effects", {})


def examples(corpus: TokenizedCorpus, ids: list[int]) -> list[dict[str, object]]:
    """The first few places of each letter in training documents, as if they were the strongest."""
    rows = []
    for f, token in enumerate(ids):
        for rank, document in enumerate(range(8, 8 + NUM_EXAMPLES)):
            position = corpus.document_tokens(document).tolist().index(token)
            window = {"start": 0, "length": 100, "offsets": [position], "values": [1.0]}
            found = {"index": f, "kind": TOP, "rank": rank, "band": -1, "document": document, "position": position}
            found |= {"document_id": int(corpus.document_ids[document]), "repeats": 0}
            rows.append({**found, **window, "activation": 1.0, "pre_activation": 1.0})
    return rows


def held_out_rows(corpus: TokenizedCorpus, ids: list[int]) -> list[dict[str, object]]:
    """The held-out tokens of each letter, as stage `explain` numbers them."""
    sequences = draw_held_out(corpus, LABEL_TOKENS, 0).tolist()
    tokens = np.concatenate([corpus.sequence_tokens(number) for number in sequences])
    return [{"tokens": np.flatnonzero(tokens == token).tolist()} for token in ids]


def explanation(index: int, label: str) -> dict[str, object]:
    rule = Rule((Condition("here", "word", (label,)),)).to_json()
    empty = {name: [] for name in ("label_levels", "top_words", "promoted", "promoted_logits")}
    empty |= {"suppressed": [], "suppressed_logits": []}
    return {**empty, "index": index, "label": label, "label_origin": "statistics", "label_score": 0.5,
            "label_rule": rule, "label_tested": "held-out"}  # fmt: skip


def write(path: Path, schema: pa.Schema, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrow(path, schema, pa.Table.from_pylist(rows, schema).to_batches())


def recipe(**section: object) -> Recipe:
    return make_recipe(
        {
            "name": "planted",
            "corpus": {"source": "text", "path": "texts"},
            "model": {"name": "tiny", "source": "tiny", "layer": 0, "dtype": "float32"},
            "train": {"saes": [{"architecture": "relu", "num_features": 8}]},
            "examples": {"rare_tokens": 5},
            "score": {"samples": 60, "bands": 5, "context": 6, "planted": 5, "features": 7, **section},
        }
    )


@pytest.fixture
def scored(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    corpus = TokenizedCorpus(paths.stage("tokenize"))
    vocabulary = Tokenizer.load(paths.store.models / "tiny").token_bytes()
    ids = [vocabulary.index(letter.encode()) for letter in LETTERS]
    x_ND, index_N = residuals(corpus, ids)
    monkeypatch.setattr(score, "residual_blocks", lambda *args, **options: iter([ResidualBlock(x_ND, index_N)]))
    return paths


def test_right_labels_score_high_and_a_shuffled_one_low(scored: RunPaths) -> None:
    manifest = score.run(recipe(), scored)
    folder = scored.stage("score")
    rule, sentences, local = read_judges(folder)
    assert [rule.name, sentences.name, local.name] == ["rule", "sentences", "local"]
    assert sentences.why_none.startswith("The recipe names no sentence encoder")
    assert rule.trust.keys() == TASKS.keys()
    assert all(trust.separation == 1 for trust in rule.trust.values())
    assert local.num_features == 3
    assert local.trust["specificity"].num_labels <= 5
    found = read_arrow(folder / NAME / SCORES_FILE).to_pylist()
    by_rule = {(row["index"], TASK_NAMES[row["task"]]): row for row in found if row["judge"] == 0}
    scored_features = sorted({index for index, _ in by_rule})
    assert len(scored_features) == 7
    assert 6 in scored_features  # it responds
    right = {key: row for key, row in by_rule.items() if key[0] != SHUFFLED}
    assert all(row["value"] == 1.0 for row in right.values())
    specificity, detection, fuzzing = (by_rule[SHUFFLED, task] for task in TASKS)
    assert specificity["value"] == 0.0
    assert detection["value"] < 0.7  # the other letter stands in about half of all texts, with the feature or without
    assert fuzzing["value"] <= 0.5
    assert fuzzing["true_positive"] == 0.0  # it is never the letter that is marked
    assert manifest.counts["saes"][NAME]["num_features"] == 7
    assert 0 < manifest.counts["saes"][NAME]["num_random"] < 7


def test_samples_are_sorted_and_spread_evenly_over_the_range(scored: RunPaths) -> None:
    score.run(recipe(), scored)
    rows = read_arrow(scored.stage("score") / NAME / JUDGED_FILE).to_pylist()
    keys = [(row["index"], -row["band"], row["rank"]) for row in rows]
    assert keys == sorted(keys)
    counts = {index: np.bincount([r["band"] for r in rows if r["index"] == index]) for index, *_ in keys}
    assert all((found <= 12).all() and found[1:].min() > 6 for found in counts.values())
    assert all(row["answers"][1] is None for row in rows)
    assert sum(row["answers"][2] is not None for row in rows) == 3 * 20


def test_questions_are_in_memory_some_at_a_time_with_the_same_scores(
    scored: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    whole = AnswerCache.ask

    def counted(self: AnswerCache, questions: Sequence[Question], *rest: Any) -> Any:
        at_once.append(len(questions))
        return whole(self, questions, *rest)

    monkeypatch.setattr(AnswerCache, "ask", counted)
    monkeypatch.setattr(score, "make_judge", Names({}).make)
    found = []
    for limit in (asking.QUESTIONS_AT_ONCE, 30):
        monkeypatch.setattr(asking, "QUESTIONS_AT_ONCE", limit)
        shutil.rmtree(scored.store.judgements, ignore_errors=True)
        shutil.rmtree(scored.stage("score"))
        at_once.clear()
        counts = score.run(recipe(judges=ASKED_ALL, features=8), scored).counts
        tables = [read_arrow(scored.stage("score") / NAME / name) for name in (SCORES_FILE, JUDGED_FILE, TRIED_FILE)]
        found.append((counts, *tables))
    assert found[0] == found[1]
    assert max(at_once) <= 30 + 5 * 24  # one feature's candidates have as many
    assert len(at_once) > 20


def test_it_goes_on_where_a_judge_failed(scored: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.judges.local import LocalJudge

    asked: list[int] = []
    whole = LocalJudge._next_logits

    def counted(self: LocalJudge, rests: list[list[int]], beginning: object) -> torch.Tensor:
        if len(asked) == 1:
            raise RuntimeError("killed")
        asked.append(len(rests))
        return whole(self, rests, beginning)

    judges = [{"kind": "local", "tasks": ["detection"], "batch_tokens": 256, "proposals": 0}]
    monkeypatch.setattr(LocalJudge, "_next_logits", counted)
    with pytest.raises(RuntimeError):
        score.run(recipe(judges=judges), scored)
    monkeypatch.setattr(LocalJudge, "_next_logits", lambda s, r, b: (asked.append(len(r)), whole(s, r, b))[1])
    report = score.run(recipe(judges=judges), scored).counts["judges"][0]
    assert sum(asked) == report["questions"]


def test_nothing_is_scored_where_the_recipe_says_so(scored: RunPaths) -> None:
    counts = score.run(recipe(features=0), scored).counts
    assert {judge["why_none"] for judge in counts["judges"]} == {"No feature is scored."}
    assert len(read_arrow(scored.stage("score") / NAME / JUDGED_FILE)) == 0


class Names:
    """A judge that knows letters, and what it is told to call features by the letter that is marked."""

    def __init__(self, called: dict[str, str], fail_after: int = -1) -> None:
        self.judge = FunctionProposer(self._label, self._answer, fail_after)
        self.judge.identity = f"names {sorted(called.items())}"
        self._called = called

    def _label(self, shown: str) -> str:
        letter = re.findall("<<(.)>>", shown)[0]
        return self._called.get(letter, "z")

    def _answer(self, question: Question) -> float:
        """A marked space is of the word that follows."""
        marked = re.findall("<<(.*?)>>(.?)", question.text)
        return float({inside.strip() or after for inside, after in marked} == {question.label})

    def make(self, config: JudgeConfig, materials: Materials) -> Judge | str:
        return self.judge if config.kind == "served" else make_judge(config, materials)


ASKED = [
    {"kind": "rule", "tasks": ["fuzzing"]},
    {"kind": "served", "name": "chat", "base_url": "http://127.0.0.1:1/v1", "model": "m", "tasks": ["fuzzing"]},
]

ASKED_ALL = [{"kind": "rule"}, {**ASKED[1], "tasks": list(TASKS)}]


def candidates_of(paths: RunPaths) -> dict[int, list[dict[str, Any]]]:
    rows = read_arrow(paths.stage("score") / NAME / CANDIDATES_FILE).to_pylist()
    return {index: [row for row in rows if row["index"] == index] for index in {row["index"] for row in rows}}


def test_the_right_one_of_two_labels_wins_and_all_are_kept(scored: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names({LETTERS[SHUFFLED]: LETTERS[SHUFFLED]})
    monkeypatch.setattr(score, "make_judge", names.make)
    counts = score.run(recipe(judges=ASKED, features=8), scored).counts
    report = CandidateReport.from_json(counts["candidates"])
    assert report == CandidateReport("fuzzing", ["rule", "chat"], "chat", True, 8, 1)
    for index, found in candidates_of(scored).items():
        assert [row["scores"][1] for row in found] == sorted((row["scores"][1] for row in found), reverse=True)
        by_origin = {ORIGINS[row["origin"]]: row for row in found}
        label = next(row for row in found if row["is_label"])
        assert label["text"] == LETTERS[index]
        assert label == by_origin["judge" if index == SHUFFLED else "rule"]
        assert by_origin["judge"]["text"] == (LETTERS[SHUFFLED] if index == SHUFFLED else "z")
        assert label["scores"][1] == 1.0
        assert (by_origin["rule"]["scores"][0] == 1.0) == (index != SHUFFLED)
        assert by_origin["judge"]["scores"][0] is None  # the rule's judge reads no label
    scores = [row for row in read_arrow(scored.stage("score") / NAME / SCORES_FILE).to_pylist() if row["task"] == 2]
    assert TASK_NAMES[2] == "fuzzing"
    by_chat = {row["index"]: row["value"] for row in scores if row["judge"] == 1}
    assert by_chat == dict.fromkeys(range(8), 1.0), "under the label that won"
    assert {row["index"] for row in scores if row["judge"] == 0} == {f for f in range(8) if f != SHUFFLED}
    explanations = read_arrow(scored.stage("explain") / NAME / EXPLANATIONS_FILE)
    renamed = read_labels(scored.stage("explain"), scored.stage("score"), NAME)
    assert renamed["label"].to_pylist() == list(LETTERS)
    assert renamed["label_origin"][SHUFFLED].as_py() == "chat"
    assert renamed["label_score"][SHUFFLED].as_py() is None
    others = [f for f in range(len(LETTERS)) if f != SHUFFLED]
    assert renamed.take(others) == explanations.take(others)


def test_only_features_with_another_label_are_judged_anew(scored: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names({LETTERS[SHUFFLED]: LETTERS[SHUFFLED]})
    monkeypatch.setattr(score, "make_judge", names.make)
    names.judge.keeps = False
    anew: list[Question] = []
    run_anew = Interview.run_anew

    def watched(self: Interview, *arguments: Any, **how: Any) -> None:
        before = len(names.judge.asked)
        run_anew(self, *arguments, **how)
        anew.extend(names.judge.asked[before:])

    monkeypatch.setattr(Interview, "run_anew", watched)
    score.run(recipe(judges=ASKED[1:], features=8), scored)
    assert {question.label for question in anew} == {LETTERS[SHUFFLED]}
    assert len({question.text for question in anew}) == len(anew) > 0


def test_candidates_are_tried_on_texts_that_none_was_made_from(
    scored: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "make_judge", Names({}).make)
    score.run(recipe(judges=ASKED, features=8, candidate_texts=7), scored)
    examples = read_arrow(scored.stage("examples") / NAME / EXAMPLES_FILE).to_pylist()
    rows = read_arrow(scored.stage("score") / NAME / TRIED_FILE).to_pylist()
    for row in rows:
        near = [e for e in examples if (e["index"], e["document"]) == (row["index"], row["document"])]
        assert not any(row["start"] <= e["position"] < row["start"] + row["length"] for e in near)
    assert {index: sum(r["index"] == index for r in rows) for index in range(8)} == dict.fromkeys(range(8), 14)
    assert [row["active"] for row in rows] == ([True] * 7 + [False] * 7) * 8


def test_a_judge_that_guesses_names_nothing(scored: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names({letter: letter for letter in LETTERS})
    names.judge.identity = "guesses"
    monkeypatch.setattr(names.judge, "_answer", lambda question: float(len(question.text) % 2))
    monkeypatch.setattr(score, "make_judge", names.make)
    report = score.run(recipe(judges=ASKED, features=8), scored).counts["candidates"]
    assert report["decider"] == ""
    assert (report["task"], report["judges"]) == ("fuzzing", ["rule"])
    assert report["num_named"] == 0
    found = candidates_of(scored)
    assert all(rows[0]["is_label"] and ORIGINS[rows[0]["origin"]] == "rule" for rows in found.values())
    assert {row["text"] for row in found[SHUFFLED]} >= {LETTERS[SHUFFLED], LETTERS[SHUFFLED + 1]}


def test_labels_that_were_written_before_a_kill_are_not_asked_for_again(
    scored: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(scored.store.judgements, ignore_errors=True)
    gone, again = Names({}, fail_after=3), Names({})
    monkeypatch.setattr(score, "make_judge", gone.make)
    with pytest.raises(RuntimeError, match="the judge is gone"):
        score.run(recipe(judges=ASKED, features=8, planted=4), scored)
    monkeypatch.setattr(score, "make_judge", again.make)
    score.run(recipe(judges=ASKED, features=8, planted=4), scored)
    assert len(gone.judge.shown) == 3
    assert len(again.judge.shown) == len(LETTERS) - 3
    assert not {*gone.judge.shown} & {*again.judge.shown}


def test_no_candidates_where_the_recipe_says_so(scored: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names({})
    monkeypatch.setattr(score, "make_judge", names.make)
    report = score.run(recipe(judges=ASKED, candidate_texts=0), scored).counts["candidates"]
    assert report["num_features"] == 0
    assert names.judge.shown == []
    assert candidates_of(scored) == {}
