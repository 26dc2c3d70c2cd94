"""Stage `strengths` on the fake run: which features, what is published, and a run that is killed goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.arrow import read_arrow
from data.artifacts.effects import EFFECTS_FILE
from data.artifacts.features import EXPLANATIONS_FILE, STATISTICS_FILE, read_kinds
from data.artifacts.responses import read_best_strengths
from data.artifacts.scores import JudgeReport, Trust
from data.artifacts.strengths import CURVES_FILE, STRENGTHS_FILE
from data.layout import RunPaths, StorePaths
from data.published.state import open_published
from data.published.tables import PublishedRun
from pipeline.influence import strength_files
from pipeline.influence.strengths import StrengthMeter
from pipeline.judges.protocol import Question
from pipeline.recipe import Recipe
from pipeline.recipe.judging import JudgeConfig
from pipeline.scores.written import choose_reader
from pipeline.stages import publish, strengths
from tests.support.fake_run import RARE_TOKENS, fake_recipe
from tests.support.judges import FunctionJudge
from tests.support.models import model_that_cannot_be_steered

COUNT = 9


@pytest.fixture
def run(published_store: StorePaths, tmp_path: Path) -> RunPaths:
    """A copy of the fake run before features were held."""
    shutil.copytree(published_store.root, tmp_path / "store")
    paths = StorePaths(tmp_path / "store").run("fake")
    shutil.rmtree(paths.stage("strengths"))
    return paths


def counting(question: Question) -> float:
    """How often a text has an a, up to 3."""
    return float(min(3, question.text.count("a")))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> FunctionJudge:
    """Stands for the judge of the recipe that can read."""
    found = FunctionJudge(counting)
    monkeypatch.setattr(strengths, "make_judge", lambda config, materials: found)
    return found


def asked(**changes: Any) -> Recipe:
    config = {"features": COUNT, "positions": 3, "new_tokens": 4, "strengths": [-1.0, 0.5, 2.0, 8.0]}
    kinds = {"rule": "rule", "guess": "local", "away": "sentences", "near": "sentences"}  # of tests.support.scores
    judges = [{"name": name, "kind": kind} for name, kind in kinds.items()]
    return fake_recipe(
        strengths={**config, "text_strengths": [0.5, 2.0], "planted": 4, **changes}, score={"judges": judges}
    )


def rows_of(paths: RunPaths, file: str) -> dict[str, list[dict[str, Any]]]:
    names = asked().sae_names
    return {name: read_arrow(paths.stage("strengths") / name / file).to_pylist() for name in names}


def test_those_that_respond_come_first_then_a_random_sample_of_live_ones(run: RunPaths, judge: FunctionJudge) -> None:
    strengths.run(asked(), run)
    responding = {(sae, index) for sae, of in read_best_strengths(run.stage("respond")).items() for index in of}
    curves = {(sae, row["index"]): row for sae, rows in rows_of(run, CURVES_FILE).items() for row in rows}
    assert len(curves) == COUNT
    assert {one for one, row in curves.items() if not row["random"]} == responding != set()
    assert {sae for (sae, _), row in curves.items() if row["random"]} == set(asked().sae_names)
    for (sae, index), row in curves.items():
        statistics = read_arrow(run.stage("examples") / sae / STATISTICS_FILE)
        assert read_kinds(statistics, RARE_TOKENS).live_F[index]
        raised = read_arrow(run.stage("effects") / sae / EFFECTS_FILE)["raised"][index].as_py()
        assert row["words"] == raised[:8] if raised else row["words_from"] == "peaks"


def test_every_strength_has_a_row_and_written_texts_are_judged(run: RunPaths, judge: FunctionJudge) -> None:
    manifest = strengths.run(asked(), run)
    labels = {
        name: read_arrow(run.stage("explain") / name / EXPLANATIONS_FILE)["label"].to_pylist()
        for name in asked().sae_names
    }
    written = 0
    for sae, rows in rows_of(run, STRENGTHS_FILE).items():
        indices = list(dict.fromkeys(row["index"] for row in rows))
        assert indices == sorted(indices)
        assert [row["strength"] for row in rows] == [None, -1.0, 0.5, 2.0, 8.0] * len(indices)
        for row in rows:
            texts = [opening + text for opening, text in zip(asked().strengths.openings, row["texts"], strict=False)]
            written += len(texts)
            scores = [counting(Question(None, "", text)) for text in texts]  # type: ignore[arg-type]
            assert labels[sae][row["index"]]
            assert row["score"] == (pytest.approx(sum(scores) / len(scores)) if scores else None)
    assert manifest.counts["judge"]["questions"] - written in range(100)  # the others are planted
    assert manifest.counts["judge"]["name"] == "near"
    assert sum(one["num_measured"] for one in manifest.counts["saes"].values()) == COUNT


def test_curves_are_published_by_row(run: RunPaths, judge: FunctionJudge) -> None:
    strengths.run(asked(), run)
    publish.run(asked(), run)
    tables = PublishedRun(open_published(run.store, "fake").folder)
    columns = ["sae", "index", "peak_strength", "strength_words", "first_strength", "num_strengths"]
    features = tables.take("features", range(tables.count("features")), columns).to_pylist()
    curves = {(sae, row["index"]): row for sae, rows in rows_of(run, CURVES_FILE).items() for row in rows}
    points = {
        (sae, row["index"], row["strength"]): row for sae, rows in rows_of(run, STRENGTHS_FILE).items() for row in rows
    }
    seen = 0
    for row, one in enumerate(features):
        known = curves.get((one["sae"], one["index"]))
        assert (one["num_strengths"] > 0) == (known is not None)
        assert one["peak_strength"] == (known and known["peak"])
        assert one["strength_words"] == (known["words"] if known else [])
        mine = range(one["first_strength"], one["first_strength"] + one["num_strengths"])
        for point in tables.take("strengths", mine).to_pylist():
            assert point.pop("row") == row
            plain = dict(points[one["sae"], one["index"], point["strength"]])
            assert plain.pop("index") == one["index"]
            assert point == plain
            seen += 1
    assert seen == len(points) == tables.count("strengths")


def content(paths: RunPaths) -> list[Any]:
    return [rows_of(paths, CURVES_FILE), rows_of(paths, STRENGTHS_FILE)]


def test_a_run_that_is_killed_goes_on_with_what_is_missing(
    run: RunPaths, judge: FunctionJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strength_files, "FEATURES_AT_ONCE", 2)
    plain, measured = StrengthMeter.measure, []

    def measure(limit: int) -> Callable[..., Any]:
        def some(self: StrengthMeter, features: Any) -> Any:
            if len(measured) == limit:
                raise KeyboardInterrupt
            measured.append([(one.sae, one.index) for one in features])
            return plain(self, features)

        return some

    monkeypatch.setattr(StrengthMeter, "measure", measure(2))
    with pytest.raises(KeyboardInterrupt):
        strengths.run(asked(), run)
    assert not run.stage("strengths").exists()
    monkeypatch.setattr(StrengthMeter, "measure", measure(-1))
    manifest = strengths.run(asked(), run)
    assert len(measured) == -(-COUNT // 2)
    assert len({one for some in measured for one in some}) == COUNT
    assert not list(run.stage("strengths").glob(".*"))
    known = content(run)
    assert strengths.run(asked(), run) == manifest
    shutil.rmtree(run.stage("strengths"))
    strengths.run(asked(), run)
    assert content(run) == known


def test_a_judge_that_is_gone_is_asked_the_rest_only(
    run: RunPaths, judge: FunctionJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = FunctionJudge(counting, fail_after=5)
    monkeypatch.setattr(strengths, "make_judge", lambda config, materials: gone)
    with pytest.raises(RuntimeError, match="gone"):
        strengths.run(asked(), run)
    monkeypatch.setattr(strengths, "make_judge", lambda config, materials: judge)
    monkeypatch.setattr(StrengthMeter, "measure", lambda *arguments: pytest.fail("it was measured"))
    strengths.run(asked(), run)
    assert not {question.text + question.label for question in gone.asked} & {
        question.text + question.label for question in judge.asked
    }


def test_without_features_nothing_is_measured(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strengths, "load_language_model", lambda *arguments: pytest.fail("the model is not needed"))
    manifest = strengths.run(asked(features=0), run)
    assert "features=0" in manifest.counts["why_none"]
    assert not any(rows for table in content(run) for rows in table.values())
    publish.run(asked(features=0), run)
    assert PublishedRun(open_published(run.store, "fake").folder).count("strengths") == 0


def test_a_model_that_cannot_be_written_with_says_so(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strengths, "load_language_model", lambda *arguments: model_that_cannot_be_steered())
    manifest = strengths.run(asked(), run)
    assert "this model cannot be steered" in manifest.counts["why_none"]


def test_without_texts_no_judge_is_asked(run: RunPaths, judge: FunctionJudge) -> None:
    manifest = strengths.run(asked(text_strengths=[]), run)
    assert (manifest.counts["judge"], manifest.counts["why_unjudged"]) == (None, "No texts were written.")
    assert judge.asked == []


def test_the_judge_is_the_most_trusted_one_that_can_read() -> None:
    trust = {low: Trust(9, 90, 0.8, 0.0, low + 0.1, low, low + 0.2) for low in (0.4, 0.6, 0.9)}
    judges = [JudgeConfig(kind="rule"), JudgeConfig(kind="sentences"), JudgeConfig(kind="local"),
              JudgeConfig(kind="local", name="other")]  # fmt: skip
    reports = [
        JudgeReport("rule", "rule", "", "", {"detection": trust[0.9]}),
        JudgeReport("sentences", "sentences", "", "", {"specificity": trust[0.4], "fuzzing": trust[0.6]}),
        JudgeReport("local", "local", "", "", {"specificity": trust[0.4]}),
        JudgeReport("other", "local", "", "The model has no chat template."),
    ]
    assert choose_reader(judges, reports) is judges[1]
    assert choose_reader(judges[:1], reports[:1]) is None
