from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from torch import Tensor

from backend.published.catalogue import OpenRun
from backend.settings import Settings
from backend.splitting import family_page, sizes_page
from backend.splitting.family import RELATIVES_SHOWN, get_family, lay_out
from backend.splitting.sizes import by_size, count_new, distributions, means, num_counted
from data.artifacts.features import COSINE_BINS
from data.layout import StorePaths
from data.published.tables import PublishedRun
from pipeline.recipe import SAEConfig
from tests.support.fake_model import WIDTH
from tests.support.fake_run import DEAD, MARKED, NEGLIGIBLE, RARE, FakeRun, fake_recipe
from tests.support.pages import Page, app_with_contexts

API = "/api/v1/compare"
PARENT, CHILDREN, LONELY = 9, (20, 21), 40
"""Planted: PARENT of the small SAE splits into CHILDREN of the large one, whose LONELY is near none of the small."""
CHILD_COSINES = (0.97, 0.93)


class PlantedRun(FakeRun):
    """The fake run, with a feature that splits in two and directions that have no relative."""

    def _directions(self, config: SAEConfig) -> Tensor:
        W_FD = super()._directions(config)
        basis_D = torch.eye(WIDTH)
        if config.architecture == "relu":  # two axes are kept free of all other features, so that they are known apart
            W_FD[:, :3] = 0
            W_FD = torch.nn.functional.normalize(W_FD)
        if config.architecture == "relu" and config.num_features == 64:
            W_FD[PARENT] = basis_D[0]
        if config.num_features == 256:
            for child, cosine, sign in zip(CHILDREN, CHILD_COSINES, (1, -1), strict=True):
                W_FD[child] = cosine * basis_D[0] + sign * (1 - cosine**2) ** 0.5 * basis_D[1]
            W_FD[LONELY] = basis_D[2]
        return W_FD


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server of the planted run, whose answers have `context`."""
    store = StorePaths(tmp_path_factory.mktemp("planted") / "store")
    PlantedRun(fake_recipe("planted", "tiny"), store.run("planted")).publish()
    app = app_with_contexts(Settings(store=store.root, live=False))
    with TestClient(app) as client:
        yield client


@pytest.fixture
def run(client: TestClient) -> OpenRun:
    return client.app.state.library.catalogue().runs[0]


def dense(run: OpenRun) -> tuple[np.ndarray, np.ndarray, list[slice]]:
    """All vectors, which features are live, and where each SAE's stand."""
    table = run.tables.take("features", range(run.tables.count("features")))
    vectors = np.array(table["vector"].to_pylist())
    minor = table["rare"].to_numpy() | table["negligible"].to_numpy()
    live = (table["num_active"].to_numpy() > 0) & ~minor
    assert not live[[NEGLIGIBLE, RARE]].any()
    return vectors, live, [slice(s.row(0), s.row(0) + s.num_features) for s in run.saes]


def test_the_highest_cosines_are_those_of_all_pairs_of_live_features(run: OpenRun):
    vectors, live, places = dense(run)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    cosines[:, ~live] = -2
    table = run.tables.take("features", range(len(vectors)))
    for position, place in enumerate(places):
        expected = cosines[:, place].max(1)
        np.testing.assert_allclose(table[f"cosine_{position}"].to_numpy(), expected, atol=1e-5)


def test_distributions_and_means_are_those_of_live_features(run: OpenRun):
    vectors, live, places = dense(run)
    table = run.tables.take("features", range(len(vectors)))
    counts = distributions(run)
    for s, place in enumerate(places):
        assert num_counted(run)[s] == live[place].sum()
        np.testing.assert_allclose(means(run)[s], vectors[place][live[place]].mean(0), atol=1e-6)
        for o in range(len(places)):
            best = table[f"cosine_{o}"].to_numpy()[place][live[place]]
            assert counts[s, o].sum() == len(best)
            alive = table["num_active"].to_numpy()[place] > 0
            every = table[f"cosine_{o}"].to_numpy()[place][alive]
            assert num_counted(run, minor=True)[s] == len(every) > len(best)
            assert count_new(run, 0.31, minor=True)[s, o] == (every < np.float32(0.31)).sum()
            for threshold in (0.0, 0.31, 0.5, 0.7, 0.97, 1.0):
                assert count_new(run, threshold)[s, o] == (best < np.float32(threshold)).sum()


def test_a_planted_split_is_found(client: TestClient):
    answer = client.get(API, params={"f": f"tiny/1-relu-64/{PARENT}", "t": 0.9}).json()
    members = {member["feature"]["index"]: member for member in answer["members"]}
    assert set(members) == {PARENT, *CHILDREN}
    assert [member["focus"] for member in answer["members"]] == [True, False, False]
    for child, cosine in zip(CHILDREN, CHILD_COSINES, strict=True):
        assert members[child]["cosine"] == pytest.approx(cosine, abs=1e-4)
        assert members[child]["parent"] == f"tiny/1-relu-64/{PARENT}"
        assert members[child]["parent_cosine"] == pytest.approx(cosine, abs=1e-4)
    assert members[PARENT]["parent"] is None
    below = client.get(API, params={"f": f"tiny/1-relu-64/{PARENT}", "t": 0.95}).json()["members"]
    assert [member["feature"]["index"] for member in below] == [PARENT, CHILDREN[0]]
    assert [below[0]["x"], below[1]["x"]] == [answer["members"][0]["x"], members[CHILDREN[0]]["x"]]  # nothing moves


def test_a_family_seen_from_a_child_has_its_parent_above(client, run: OpenRun):
    large = next(sae for sae in run.saes if sae.num_features == 256)
    family = get_family(large, CHILDREN[0], 0.8)
    assert [(m.sae.name, m.preview.feature.index) for m in family.members] == [
        ("1-relu-64", PARENT), ("1-relu-256", CHILDREN[0]), ("1-relu-256", CHILDREN[1])
    ]  # fmt: skip
    assert family.focus.preview.feature.index == CHILDREN[0]
    parent = family.members[0].number
    assert [m.parent for m in family.members] == [None, parent, parent]


def test_sizes_are_compared_by_their_number_of_features(run: OpenRun):
    assert [sae.name for sae in by_size(run)] == ["1-relu-64", "1-batchtopk-64", "1-relu-256"]
    for index in (0, PARENT):
        family = get_family(run.saes[2], index, 0.0)
        by_number = {member.number: member for member in family.members}
        for member in family.members:
            if member.parent:
                assert by_number[member.parent].sae.num_features < member.sae.num_features
        for sae in run.saes:
            assert sum(m.sae.name == sae.name for m in family.members) <= RELATIVES_SHOWN + 1


@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_relatives_that_are_not_shown_are_counted(client, run: OpenRun, threshold):
    """Against all pairs: exact where the published neighbours reach, and said to be a part where they do not."""
    vectors, live, places = dense(run)
    sae, capped = run.saes[0], 0
    for index in range(0, 64, 5):
        family = get_family(sae, index, threshold)
        cosines = vectors @ vectors[sae.row(index)]
        cosines[sae.row(index)] = -2
        for other, place in zip(run.saes, places, strict=True):
            expected = (live[place] & (cosines[place] >= threshold)).sum()
            count = family.counts[other.name]
            assert count.number == expected if count.complete else count.number <= expected
            shown = sum(m.sae is other and not m.focus for m in family.members)
            assert shown == min(RELATIVES_SHOWN, count.number)
            capped += shown < count.number
    assert capped


def test_a_capped_list_of_relatives_says_of_how_many(client):
    answer = client.get("/compare?f=tiny/1-relu-64/5&t=0")
    shown = len(answer.context["family"].members) - 1
    counts = client.get(API, params={"f": "tiny/1-relu-64/5", "t": 0}).json()["counts"]
    total = sum(count["num_relatives"] for count in counts)
    part = "" if all(count["complete"] for count in counts) else "at least "
    assert answer.context["summary"] == f"{shown} of {part}{total} relatives, the nearest in each size"
    large = next(panel for panel in answer.context["panels"] if panel.card.name == "1-relu-256")
    assert large.about.startswith("the 8 nearest of ")


def test_a_feature_without_relatives_leads_to_its_nearest(client):
    answer = client.get(f"/compare?f=tiny/1-relu-256/{LONELY}&t=0.9")
    page = Page(answer.text)
    assert answer.context["summary"] == ""
    assert "No feature of any size has a cosine of 0.90" in page.text
    assert "Make a list" not in page.text
    assert answer.text.count("<article") == 1
    lower = client.get(answer.context["nearest"].href)
    assert lower.context["family"].total.number >= 1


def test_a_dead_feature_is_offered_no_place_on_the_map(client):
    page = Page(client.get(f"/compare?f=tiny/1-relu-64/{DEAD}").text)
    assert f"/explore?f=tiny/1-relu-64/{DEAD}" not in page.links()
    assert "single out" not in page.text


def test_the_feature_that_a_page_is_about_has_a_label(client):
    for index in (0, 5, PARENT):
        labels = [p.labels for p in client.get(f"/compare?f=tiny/1-relu-64/{index}&t=0.3").context["panels"]]
        assert sum(label.focus for found in labels for label in found) == 1


def test_labels_lie_on_no_dot_and_on_no_other_label(client):
    for index in (0, 5, PARENT):
        for panel in client.get(f"/compare?f=tiny/1-relu-256/{index}&t=0").context["panels"]:
            boxes = [family_page._box(label) for label in panel.labels]
            for place, (label, box) in enumerate(zip(panel.labels, boxes, strict=True)):
                dots = [family_page._around(dot) for dot in panel.dots if dot.own or not label.focus]
                assert not any(family_page._overlap(box, other) for other in [*boxes[:place], *dots])


def test_dead_features_are_nobodys_relatives(client):
    members = client.get(API, params={"f": f"tiny/1-relu-64/{DEAD}", "t": 0}).json()["members"]
    assert [member["feature"]["num_active"] == 0 for member in members].count(True) == 1
    for index in range(0, 64, 9):
        members = client.get(API, params={"f": f"tiny/1-batchtopk-64/{index}", "t": 0}).json()["members"]
        assert all(m["feature"]["num_active"] or m["focus"] for m in members)


def test_a_layout_is_the_plane_of_most_variance():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 6))
    places = lay_out(vectors, [0] * 6 + [1] * 6, rng.normal(size=(2, 6)) / 10)
    assert places.shape == (12, 2)
    assert np.ptp(places[:, 0]) > 0
    assert places[:, 0].var() >= places[:, 1].var()
    assert abs(np.corrcoef(places.T)[0, 1]) < 1e-8
    assert lay_out(vectors[:1], [0], np.zeros((1, 6))).tolist() == [[0, 0]]


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("other", ["1-relu-64", "1-batchtopk-64", "smaller"])
def test_the_list_of_new_features_is_what_is_counted(client, run: OpenRun, threshold, other):
    asked = {"sae": "1-relu-256", "other": other, "t": threshold, "per_page": 200}
    answer = client.get(f"{API}/new", params=asked).json()
    vectors, live, places = dense(run)
    table = run.tables.take("features", range(len(vectors)))
    positions = [
        s.record.position for s in run.saes if s.name == other or (other == "smaller" and s.num_features == 64)
    ]
    best = np.max([table[f"cosine_{position}"].to_numpy() for position in positions], 0)[places[1]]
    expected = np.flatnonzero(live[places[1]] & (best < np.float32(threshold)))
    assert answer["total"] == len(expected)
    more = client.get(f"{API}/new", params={**asked, "page": 2}).json()["features"]
    found = [*answer["features"], *more]
    assert sorted(new["feature"]["index"] for new in found) == expected.tolist()
    assert [new["feature"]["max"] for new in found] == sorted((new["feature"]["max"] for new in found), reverse=True)
    if other != "smaller":
        counts = client.get(f"{API}/counts", params={"t": threshold}).json()
        [pair] = [pair for pair in counts if (pair["sae"], pair["other"]) == ("1-relu-256", other)]
        assert pair["num_new"] == len(expected)


def test_planted_features_are_new_or_not(client):
    asked = {"sae": "1-relu-256", "other": "1-relu-64", "t": 0.9, "per_page": 200, "order": "cosine"}
    found = client.get(f"{API}/new", params=asked).json()["features"]
    indices = [new["feature"]["index"] for new in found]
    assert not set(CHILDREN) & set(indices)
    assert indices[0] == LONELY
    assert found[0]["cosine"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("order", ["max", "density", "cosine"])
def test_the_page_lists_what_is_new_in_the_order_that_is_asked_for(client, order):
    asked = {"sae": "1-relu-256", "other": "1-relu-64", "t": 0.9, "order": order}
    page = client.get("/compare", params=asked).context["result"].features
    api = client.get(f"{API}/new", params=asked).json()["features"]
    assert [new.feature.index for new in page] == [new["feature"]["index"] for new in api]
    key = {"max": lambda new: -new.feature.max, "density": lambda new: -new.feature.density}.get(
        order, lambda new: new.cosine
    )
    assert [key(new) for new in page] == sorted(map(key, page))


def test_a_page_draws_every_member_in_its_panel_and_in_the_tree(client):
    answer = client.get(f"/compare?f=tiny/1-relu-64/{PARENT}&t=0.9")
    panels = {panel.card.name: panel for panel in answer.context["panels"]}
    assert {name: panel.about for name, panel in panels.items()} == {
        "1-relu-64": "this one", "1-batchtopk-64": "none at or above 0.90", "1-relu-256": "2 at or above 0.90"
    }  # fmt: skip
    assert answer.context["summary"] == "2 relatives"
    assert all(len(panel.dots) == 3 for panel in panels.values())
    spots = [{(dot.x, dot.y) for dot in panel.dots} for panel in panels.values()]
    assert spots[0] == spots[1] == spots[2]
    [root] = answer.context["roots"]
    assert [child.member.preview.feature.index for child in root.children] == list(CHILDREN)
    assert f"/compare?f=tiny/1-relu-256/{CHILDREN[1]}&t=0.9" in Page(answer.text).links()


def test_hostile_labels_are_shown_literally(client):
    for index in range(MARKED, MARKED + 12):
        page = Page(client.get(f"/compare?f=tiny/1-relu-256/{index}&t=0").text)
        assert not {"\x00", "\u202e", "\u200f", "\x1b"} & set(page.text)
        assert len([tag for tag, _ in page.elements if tag == "script"]) == 4
    assert '<svg onload=alert(6)> "quoted" & more' in Page(client.get(f"/compare?f=tiny/1-relu-64/{MARKED}").text).text


def test_the_counts_of_the_page_lead_to_their_lists(client):
    answer = client.get("/compare?t=0.6")
    rows = answer.context["rows"]
    assert [row.card.name for row in rows] == ["1-relu-64", "1-batchtopk-64", "1-relu-256"]
    assert [cell is None for cell in rows[1].cells] == [False, True, False]
    assert [row.new is None for row in rows] == [True, True, False]
    assert answer.context["result"].total == rows[2].new.count
    for cell in [*rows[0].cells[1:], *rows[2].cells[:2], rows[2].new]:
        listed = client.get(cell.href.removesuffix("#new"))
        assert listed.context["result"].total == cell.count
        assert any(c and c.current for row in listed.context["rows"] for c in [*row.cells, row.new])


def test_distributions_are_drawn_on_either_side_of_the_threshold():
    counts = [0] * COSINE_BINS
    counts[COSINE_BINS // 2 + 49] = 4  # 0.49
    counts[COSINE_BINS // 2 + 50] = 2  # 0.50
    counts[10] = 1  # far below 0
    below, above = sizes_page._chart(counts, 0.5)
    assert (below.count("z"), above.count("z")) == (2, 1)
    assert below.startswith("M0 ")
    assert sizes_page._chart(counts, 0.0)[0] == ""


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/compare?f=tiny/none/3", 404, "is not the name of a feature"),
        ("/compare?f=tiny/1-relu-64/64", 404, "features 0 to 63"),
        ("/compare?run=none", 404, "no run 'none'"),
        ("/compare?sae=none", 404, "no SAE 'none'"),
        ("/compare?sae=1-relu-64&other=1-relu-64", 404, "the SAE itself"),
        ("/compare?sae=1-relu-64&other=smaller", 404, "is smaller than"),
        ("/compare?t=2", 422, "t must be at most 1, not '2'"),
        (f"{API}?f=nonsense", 404, "is not the name of a feature"),
        (f"{API}/new?sae=none", 404, "no SAE"),
    ],
)
def test_what_cannot_be_compared_says_why(client, path, status, says):
    answer = client.get(path)
    assert answer.status_code == status
    assert says in (answer.json()["detail"] if path.startswith("/api") else Page(answer.text).text)


def test_the_number_of_reads_does_not_grow_with_the_family(client, monkeypatch):
    reads: list[str] = []
    take = PublishedRun.take

    def counted_take(self, name, *rest):
        reads.append(name)
        return take(self, name, *rest)

    monkeypatch.setattr(PublishedRun, "take", counted_take)
    counted = []
    for threshold in (0.95, 0):
        for _ in range(2):  # documents are remembered
            reads.clear()
            client.get(f"/compare?f=tiny/1-relu-64/{PARENT}&t={threshold}")
        counted.append(len(reads))
    assert counted[0] == counted[1] <= 6
