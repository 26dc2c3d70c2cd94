"""Stage `score`: whether features mean what their labels say, by judges that are first measured themselves.

One reading of the corpus draws activations of all chosen features evenly over their ranges, and finds texts without
them. Then one judge after the other is asked, and may write labels of its own. Those that can be trusted try all
candidates for labels, and judge the features anew that another label is better for. Whatever a judge answers is on disk
at once, so that a run that was killed, or whose judge failed, goes on where it stopped.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from data.arrow import read_arrow
from data.artifacts.candidates import CandidateReport
from data.artifacts.corpus import Cutting, TokenizedCorpus
from data.artifacts.effects import EFFECTS_FILE
from data.artifacts.features import EXAMPLES_FILE, EXPLANATIONS_FILE, STATISTICS_FILE, read_kinds
from data.artifacts.responses import read_best_strengths, read_shown_features
from data.artifacts.scores import JudgeReport, write_judges
from pipeline.activations.held_out import LABEL_TOKENS, draw_held_out
from pipeline.activations.residuals import residual_blocks
from pipeline.arrays import pack_tokens
from pipeline.fetching.encoders import encoder_key
from pipeline.fetching.local import model_folder
from pipeline.fetching.vocabulary import model_vocabulary
from pipeline.judges import proposing
from pipeline.judges.cache import AnswerCache
from pipeline.judges.making import Materials, make_judge
from pipeline.judges.tasks import TASKS
from pipeline.labels.next_rules import NextRules
from pipeline.labels.words import Words
from pipeline.models.sae import SAE
from pipeline.progress import log, track
from pipeline.publishing.interest import Tables, measure_interest
from pipeline.publishing.telling import TellingWords
from pipeline.recipe import Recipe
from pipeline.recipe.judging import HOW_ASKED
from pipeline.scores.asking import Found, Interview, ScoredFeature, ScoredSAE
from pipeline.scores.candidate_files import write_candidates
from pipeline.scores.choosing import NO_FEATURES, Chosen, choose_features, draw_unlabelled, share_of
from pipeline.scores.contest import best_task, common_task, find_decider
from pipeline.scores.files import write_scored
from pipeline.scores.materials import judge_materials, plant_questions
from pipeline.scores.naming import Entrants, Naming, report_on, under_won_labels
from pipeline.scores.sampling import BandSampler, Windows, draw_windows, no_samples
from pipeline.scores.sources import SourceReader
from pipeline.scores.summary import summarise
from pipeline.scores.texts import WindowTexts
from pipeline.scores.trust import Planted
from pipeline.stage import Stage, Work

BLOCK_TOKENS = 4096
ABSENT_PER_EXAMPLE = 8
"""Windows that are drawn for each text without a feature that is asked for."""


def score(work: Work) -> dict[str, Any]:
    """Write judges.json, and judged.arrow, scores.arrow, candidates.arrow and tried.arrow for every SAE."""
    recipe, config = work.recipe, work.recipe.score
    corpus = TokenizedCorpus(work.input_folder("tokenize"))
    vocabulary = model_vocabulary(model_folder(work.inputs["fetch"], work.paths)) if config.features else []
    chosen = _choose(work, corpus, vocabulary)
    saes = _sample(work, corpus, chosen)
    found = [Found.nothing(sae, len(config.judges)) for sae in saes]
    materials, texts = judge_materials(work, corpus, Words(vocabulary)), WindowTexts(corpus, vocabulary)
    planted = _plant(work, materials, vocabulary, saes)
    naming = Naming(_entrants(work, materials, vocabulary, saes), corpus, texts, config.candidate_texts, recipe.seed)
    asked = _ask(work, materials, saes, found, planted, naming, texts)
    candidates, named = _try_candidates(work, naming, asked, saes, corpus)
    found = _ask_anew(work, asked, saes, named, found, texts)
    for sae, of in zip(named, found, strict=True):
        write_scored(work.folder / sae.name, sae, of, corpus)
    reports = _reports(asked)
    write_judges(work.folder, reports)
    counts = {sae.name: _counts(sae, len(one.random)) for sae, one in zip(saes, chosen, strict=True)}
    names = [judge.title for judge in config.judges]
    summary = {
        sae.name: summarise(sae, of, set(one.random.tolist()), names)
        for sae, of, one in zip(saes, found, chosen, strict=True)
    }
    judges = {"judges": [report.as_json() for report in reports], "candidates": candidates.as_json()}
    return {**judges, "bands": config.bands, "saes": counts, "summary": summary}


def _plant(
    work: Work, materials: Materials, vocabulary: list[bytes], saes: list[ScoredSAE]
) -> dict[str, list[Planted]]:
    """Questions of every task with known answers; none where no feature is scored."""
    config = work.recipe.score
    if not any(sae.features for sae in saes):
        log("score: nothing is judged. No feature is scored.")
        return {}
    return plant_questions(work, materials, vocabulary, TASKS.values(), count=config.planted, context=config.context)


def _ask(
    work: Work, materials: Materials, saes: list[ScoredSAE], found: list[Found],
    planted: dict[str, list[Planted]], naming: Naming, texts: WindowTexts,
) -> list[Interview | JudgeReport]:  # fmt: skip
    """Interviews with the judges that can be trusted, and reports on the others. found: of each SAE, for answers."""
    asked: list[Interview | JudgeReport] = []
    for number, config in enumerate(work.recipe.score.judges):
        judge = make_judge(config, materials) if planted else "No feature is scored."
        if isinstance(judge, str):
            if planted:
                log(f"judge '{config.title}' is left out: {judge}")
            asked.append(JudgeReport(config.title, config.kind, "", judge))
        else:
            new = Interview(number, config, judge, AnswerCache(work.paths.store.judgements, judge))
            new.run(saes, found, planted, texts, **_how_asked(work.recipe))
            new.count(naming.propose(number, config, judge, work.paths.store.judgements))
            report = new.report()
            _say(report)
            asked.append(new if best_task(report.trust) else report)
    return asked


def _ask_anew(
    work: Work, asked: list[Interview | JudgeReport], saes: list[ScoredSAE], named: list[ScoredSAE],
    found: list[Found], texts: WindowTexts,
) -> list[Found]:  # fmt: skip
    """What is found with features that have another label now judged by that. named: the SAEs with those labels."""
    renamed = [_renamed(*pair) for pair in zip(saes, named, strict=True)]
    if not any(renamed):
        return found
    again = [Found.nothing(sae, len(asked)) for sae in saes]
    for one in asked:
        if isinstance(one, Interview):
            one.run_anew(named, again, renamed, texts, **_how_asked(work.recipe))
    columns = zip(found, again, renamed, named, strict=True)
    return [old.with_new(new, places, sae.samples.feature_M) for old, new, places, sae in columns]


def _how_asked(recipe: Recipe) -> dict[str, int]:
    return {"bands": recipe.score.bands, "examples": recipe.score.examples, "seed": recipe.seed}


def _counts(sae: ScoredSAE, num_random: int) -> dict[str, int]:
    num_samples = len(sae.samples.value_M)
    return {"num_features": sae.num_labelled, "num_random": num_random, "num_samples": num_samples}


def _entrants(work: Work, materials: Materials, vocabulary: list[bytes], saes: list[ScoredSAE]) -> list[Entrants]:
    """The features whose candidates are tried, with what these are made from; none where the recipe says so."""
    recipe = work.recipe
    if not recipe.score.candidate_texts or not any(sae.features for sae in saes):
        return []
    held_out = draw_held_out(materials.corpus, LABEL_TOKENS, recipe.seed)
    rules = NextRules(materials.corpus, materials.words, held_out, recipe.examples.bands)
    folders = {name: work.input_folder(name) for name in ("examples", "explain", "effects")}
    reader = SourceReader(folders, materials.corpus, vocabulary, rules)
    return [Entrants(sae, reader.read(sae.name, [one.index for one in sae.features])) for sae in saes]


def _try_candidates(
    work: Work, naming: Naming, asked: list[Interview | JudgeReport], saes: list[ScoredSAE], corpus: TokenizedCorpus
) -> tuple[CandidateReport, list[ScoredSAE]]:
    """Have candidates for labels tried, and write them down.

    Returns how that was done, and the SAEs with the labels that won.
    """
    contests, reports = naming.contests(), _reports(asked)
    decider = find_decider(reports)
    task = common_task(reports, decider)
    tried = [
        reports[number].name for number, one in enumerate(asked)
        if isinstance(one, Interview) and naming.try_all(number, one, contests, task)
    ]  # fmt: skip
    report = report_on(None if decider is None else reports[decider], task, tried, decider, contests)
    for sae, some in zip(saes, contests or [[] for _ in saes], strict=True):
        write_candidates(work.folder / sae.name, sae, some, corpus, len(asked), decider, report.may_name)
    if report.num_features:
        log(f"candidates for labels of {report.num_features:,} features: {report.num_named:,} are named by one of them")
    return report, under_won_labels(saes, contests, decider, may_name=report.may_name)


def _renamed(before: ScoredSAE, named: ScoredSAE) -> list[int]:
    """Places of the features that have another label now."""
    pairs = enumerate(zip(before.features, named.features, strict=True))
    return [place for place, (one, other) in pairs if one != other]


def _reports(asked: list[Interview | JudgeReport]) -> list[JudgeReport]:
    return [one.report() if isinstance(one, Interview) else one for one in asked]


def _say(report: JudgeReport) -> None:
    for task, trust in report.trust.items():
        verdict = "" if trust.tells else ": it cannot tell right labels from shuffled ones"
        log(
            f"judge '{report.name}', {task}: agrees with known truth on {trust.agreement:.0%}, bias {trust.bias:+.2f}, "
            f"tells right from shuffled labels at {trust.separation:.2f} ({trust.low:.2f} to {trust.high:.2f}){verdict}"
        )


def _choose(work: Work, corpus: TokenizedCorpus, vocabulary: list[bytes]) -> list[Chosen]:
    """The features of each SAE that are scored."""
    recipe, config = work.recipe, work.recipe.score
    if not config.features:
        return [Chosen(NO_FEATURES, NO_FEATURES) for _ in recipe.sae_names]
    responding = read_best_strengths(work.input_folder("respond"))
    shown = read_shown_features(work.input_folder("respond"))
    telling, cutting = TellingWords(corpus, vocabulary), Cutting.of(work.inputs["tokenize"].counts)
    chosen = []
    for place, name in enumerate(recipe.sae_names):
        statistics = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)
        explanations = read_arrow(work.input_folder("explain") / name / EXPLANATIONS_FILE)
        has_label_F = np.array([label != "" for label in explanations["label"].to_pylist()], bool)
        live_F = read_kinds(statistics, recipe.examples.rare_tokens).live_F
        labelled_F, unlabelled_F = has_label_F & live_F, ~has_label_F & live_F
        effects = read_arrow(work.input_folder("effects") / name / EFFECTS_FILE)
        examples = read_arrow(work.input_folder("examples") / name / EXAMPLES_FILE)
        told_by = Tables(statistics, explanations, effects, examples.select(["index", "kind", "document", "position"]))
        interest_F = measure_interest(told_by, cutting, telling)[0].to_numpy(zero_copy_only=False)
        count = share_of(config.features, len(recipe.sae_names), place)
        first, others = shown.get(name, []), responding.get(name, {})
        found = choose_features(labelled_F, interest_F, first, others, count, recipe.seed)
        num_unlabelled = share_of(config.num_unlabelled, len(recipe.sae_names), place)
        chosen.append(found._replace(unlabelled=draw_unlabelled(unlabelled_F, num_unlabelled, recipe.seed)))
    return chosen


def _sample(work: Work, corpus: TokenizedCorpus, chosen: list[Chosen]) -> list[ScoredSAE]:
    """Samples of the chosen features of all SAEs, from one reading of the corpus."""
    recipe, config = work.recipe, work.recipe.score
    absent = draw_windows(
        corpus, ABSENT_PER_EXAMPLE * max(config.examples, config.candidate_texts), config.context, recipe.seed
    )
    samplers = {
        name: _sampler(work, name, one, absent) for name, one in zip(recipe.sae_names, chosen, strict=True)
        if len(one.indices)
    }  # fmt: skip
    limit, total = recipe.examples.max_tokens, int(work.inputs["harvest"].counts["num_tokens"])
    if samplers:
        with track("score: samples", min(total, limit or total)) as progress:
            for block in residual_blocks(recipe, work.paths, block_tokens=BLOCK_TOKENS, max_tokens=limit):
                token_N = pack_tokens(block.index_N["sequence"], block.index_N["position"])
                for sampler in samplers.values():
                    sampler.add(block.x_ND, token_N)
                progress.advance(len(token_N))
    return [
        _scored(work, name, one, samplers.get(name), corpus, absent)
        for name, one in zip(recipe.sae_names, chosen, strict=True)
    ]


def _sampler(work: Work, name: str, chosen: Chosen, absent: Windows) -> BandSampler:
    config, recipe = work.recipe.score, work.recipe
    sae = SAE.load(work.input_folder("train") / name, recipe.model.device)
    max_F = read_arrow(work.input_folder("examples") / name / STATISTICS_FILE)["max"].to_numpy()
    indices = np.sort(chosen.indices)
    return BandSampler(
        sae, indices, max_F[indices], bands=config.bands, per_band=-(-config.samples // config.bands),
        context=config.context, absent=absent, seed=recipe.seed,
    )  # fmt: skip


def _scored(
    work: Work, name: str, chosen: Chosen, sampler: BandSampler | None, corpus: TokenizedCorpus, absent: Windows
) -> ScoredSAE:
    """The samples of an SAE with its labels, its features in the order in which they were chosen."""
    if sampler is None:
        return ScoredSAE(name, [], no_samples(), absent, np.zeros((len(absent.token_P), 0), bool))
    explanations = read_arrow(work.input_folder("explain") / name / EXPLANATIONS_FILE)
    rows = explanations.take(pa.array(chosen.indices))
    features = [
        ScoredFeature(int(index), label, rule)
        for index, label, rule in zip(
            chosen.indices, rows["label"].to_pylist(), rows["label_rule"].to_pylist(), strict=True
        )
    ]
    samples = sampler.finish(corpus)
    order_C = np.argsort(chosen.indices)  # the sampler's features ascend
    rank_C = np.argsort(order_C)
    absent_PC = (sampler.seen_P[:, None] & ~sampler.active_PC)[:, rank_C]
    return ScoredSAE(name, features, samples._replace(feature_M=order_C[samples.feature_M]), absent, absent_PC)


def _config(recipe: Recipe) -> dict[str, Any]:
    return {
        "score": recipe.score.model_dump(mode="json", exclude={"judges": {"__all__": set(HOW_ASKED)}}),
        "tasks": {task.name: task.version for task in TASKS.values()},
        "proposals": proposing.VERSION,
        "encoder": encoder_key(recipe.embed),
        "rare_tokens": recipe.examples.rare_tokens,
        "saes": recipe.sae_names,
    }


STAGE = Stage(
    name="score",
    work=score,
    config=_config,
    needs=("fetch", "tokenize", "harvest", "train", "examples", "explain", "respond", "effects"),
    version=4,  # scores of the labels that candidates won
)
run = STAGE.run
