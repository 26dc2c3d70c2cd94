import asyncio

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.types import Message

from backend.published.catalogue import OpenSAE
from backend.web import problems as errors
from backend.web.clients import CLIENT_GONE, while_connected
from data.artifacts.features import EXAMPLE_KINDS
from tests.support.fake_run import DEAD, RARE

FEATURE = "/api/v1/features/tiny/1-relu-64/3"


def test_saes_come_with_their_metrics(client: TestClient):
    saes = client.get("/api/v1/saes").json()
    assert [sae["name"] for sae in saes] == ["1-relu-64", "1-relu-256", "1-batchtopk-64"]
    assert saes[0]["metrics"]["l0"] > 0
    assert client.get(saes[1]["href"]).status_code == 200


def test_a_list_is_paged_and_sorted(client):
    asked = {"sort": "density", "per_page": 5, "page": 2, "minor": True}
    answer = client.get("/api/v1/features/tiny/1-relu-256", params=asked).json()
    assert (answer["total"], answer["page"], len(answer["features"])) == (256, 2, 5)
    densities = [feature["density"] for feature in answer["features"]]
    assert densities == sorted(densities, reverse=True)


def test_a_feature_is_the_same_beside_its_page(client):
    feature = client.get(FEATURE).json()
    assert feature == client.get("/tiny/1-relu-64/3.json").json()
    assert set(feature["num_examples"]) == set(EXAMPLE_KINDS)


@pytest.mark.parametrize("kind", EXAMPLE_KINDS)
def test_examples_are_those_that_were_published(client, sae: OpenSAE, kind):
    found = client.get(f"{FEATURE}/examples", params={"kind": kind}).json()
    feature = sae.run.tables.take("features", [sae.row(3)]).to_pylist()[0]
    rows = sae.run.tables.examples(feature["first_example"], feature["num_examples"], EXAMPLE_KINDS.index(kind))
    assert [example["position"] for example in found] == rows["position"].to_pylist()
    for example, row in zip(found, rows.to_pylist(), strict=True):
        values = [token["value"] for token in example["tokens"]]
        assert len(values) == row["length"]
        assert {i: value for i, value in enumerate(values) if value} == dict(
            zip(row["offsets"], row["values"], strict=True)
        )
        centre = [i for i, token in enumerate(example["tokens"]) if token["centre"]]
        assert centre == [example["position"] - example["start"]]
        assert values[centre[0]] == pytest.approx(example["activation"])


def test_neighbours_are_exact_and_the_own_sae_comes_first(client, sae: OpenSAE):
    groups = client.get(f"{FEATURE}/neighbours", params={"k": 4}).json()
    assert [group["sae"] for group in groups] == ["1-relu-64", "1-relu-256", "1-batchtopk-64"]
    assert [group["own"] for group in groups] == [True, False, False]
    indices_SK, cosines_SK = sae.run.tables.neighbours(sae.row(3), 3)
    for number, group in enumerate(groups):
        assert [near["feature"]["index"] for near in group["nearest"]] == indices_SK[number, :4].tolist()
        assert [near["cosine"] for near in group["nearest"]] == pytest.approx(cosines_SK[number, :4].tolist())
    [only] = client.get(f"{FEATURE}/neighbours", params={"k": 2, "sae": "1-batchtopk-64"}).json()
    assert only["nearest"] == groups[2]["nearest"][:2]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/v1/none", 404, "nothing at /api/v1/none"),
        ("/api/v1/features/tiny/none", 404, "no SAE"),
        ("/api/v1/features/tiny/1-relu-64/64", 404, "features 0 to 63"),
        ("/api/v1/features/tiny/1-relu-64/-1", 404, "features 0 to 63"),
        ("/api/v1/features/tiny/1-relu-64/٣", 404, "features 0 to 63"),
        ("/api/v1/features/tiny/1-relu-64/99999999999999999999", 404, "features 0 to 63"),
        ("/api/v1/features/tiny/1-relu-64?sort=vector", 422, "sort"),
        ("/api/v1/features/tiny/1-relu-64?per_page=100000", 422, "per_page"),
        ("/api/v1/features/tiny/1-relu-64?min_density=nan", 422, "min_density"),
        (f"{FEATURE}/examples?kind=all", 422, "kind"),
        (f"{FEATURE}/neighbours?k=0", 422, "k"),
        (f"{FEATURE}/neighbours?sae=none", 404, "no SAE"),
        ("/api/v1/map?run=none", 404, "no run"),
    ],
)
def test_errors_are_problem_details_that_say_what_is_wrong(client, path, status, says):
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert says in problem["detail"]


def test_a_method_that_is_not_there_is_a_problem_too(client):
    answer = client.delete("/api/v1/saes")
    assert (answer.status_code, answer.json()["status"]) == (405, 405)
    assert answer.headers["allow"] == "GET"


def test_rare_and_dead_features_have_few_examples(client):
    rare = client.get(f"/api/v1/features/tiny/1-relu-64/{RARE}").json()
    assert 0 < rare["num_active"] < 5
    assert client.get(f"/api/v1/features/tiny/1-relu-64/{DEAD}/examples").json() == []


def test_the_description_covers_every_operation(client):
    description = client.get("/api/v1/openapi.json").json()
    assert "/api/v1/features/{model}/{sae}/{index}/neighbours" in description["paths"]
    page = client.get("/docs").text
    for path in description["paths"]:
        assert path.replace("{", "{") in page


def test_work_for_a_connection_that_was_closed_ends_without_a_failure() -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    app = FastAPI()
    errors.install(app)

    @app.get("/api/work")
    async def work(request: Request) -> None:
        async def closed() -> Message:
            return {"type": "http.disconnect"}

        await while_connected(Request(request.scope, closed), endless())

    answer = TestClient(app).get("/api/work")
    assert answer.status_code == CLIENT_GONE
    assert answer.json()["detail"] == "The connection was closed."
