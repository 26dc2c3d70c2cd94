"""The whole road, by the commands a person types: the sample in, dashboard out, on real processes, files and pages."""

import httpx
import pytest
from playwright.sync_api import Browser

from data.layout import StorePaths
from tests.browser.commands import monosema, visit
from tests.support.command_line import monosema_here
from tests.support.processes import monosema_serving

SMALL_SAES = """train.saes=[
 {architecture="relu", num_features=128, learning_rate=4e-3},
 {architecture="relu", num_features=256, learning_rate=4e-3},
 {architecture="batchtopk", num_features=128, k=16, learning_rate=2e-3}]""".replace("\n", "")


SMALL = [
    'completeness.lists=["chemical-elements"]',
    "corpus.max_document_characters=3_000",
    "tokenize.context_length=128",
    "tokenize.max_tokens=4_000",
    "tokenize.max_held_out_tokens=2_000",
    "train.batch_size=128",
    "evaluate.max_cross_entropy_tokens=200",
    "respond.candidates=12",
    "respond.tried=4",
    "respond.written=2",
    "respond.new_tokens=8",
    "effects.features=9",
    "strengths.features=3",
    "strengths.strengths=[0.5, 1, 2]",
    "strengths.text_strengths=[1]",
    "strengths.positions=3",
    "strengths.new_tokens=6",
    "strengths.planted=4",
    "compare.n=4",
    "compare.max_tokens=1_000",
    "effects.context=32",
    "effects.readings=1",
    "neurons.max_tokens=1_000",
    "score.features=6",
    "score.samples=100",
    "score.unlabelled=3",
    "score.candidate_texts=4",
    'score.judges=[{kind="rule"}, {kind="sentences", tasks=["specificity", "fuzzing"], samples=40}, '
    '{kind="local", tasks=["specificity"], features=1, samples=2, planted=1, proposals=1}]',
    'scale.grids=[{architecture="relu", l1_coefficient=2.5, num_features=[32, 64, 128], num_tokens=[2048, 4096, 8192], '
    "learning_rates=[0.008], held_out=[[128, 8192]]}]",
    "scale.held_out_tokens=1024",
    "scale.batch_size=64",
    "scale.warmup_steps=10",
    "project.num_epochs=5",
]
"""Every stage and every judge of the sample, on little text."""


@pytest.mark.sample
@pytest.mark.browser
@pytest.mark.long
@pytest.mark.timeout(900)
def test_sample_model_to_dashboard(sample_store: StorePaths, browser: Browser) -> None:
    settings = [part for override in (*SMALL, SMALL_SAES) for part in ("--set", override)]
    monosema("run", "--recipe", "sample", *settings, store=sample_store)

    monosema_here("doctor", "--run", "sample", store=sample_store)

    with monosema_serving(sample_store) as address, httpx.Client(base_url=f"{address}/api/v1", timeout=120) as http:
        names = [sae["name"] for sae in http.get("/saes").json()]
        assert names == ["14-relu-128", "14-relu-256", "14-batchtopk-128"]
        sae = "smollm2-135m/14-relu-256"
        features = http.get(f"/features/{sae}", params={"sort": "density", "order": "desc"}).json()["features"]
        index = features[3]["index"]
        examples = http.get(f"/features/{sae}/{index}/examples").json()
        assert examples, "a dense feature has examples"

        text = "The University of Oxford was founded in England."
        answer = http.post("/activations", json={"text": text, "saes": [sae]})
        assert answer.status_code == 200, answer.text

        pages = [
            "/",
            "/smollm2-135m/14-relu-256",
            f"/smollm2-135m/14-relu-256/{index}",
            "/explore",
            "/prompt",
            "/steer",
        ]
        assert all(visit(browser, address, pages))
