import numpy as np
import pytest

from data.published.maps import World
from data.published.regions import Region, box_of
from pipeline.geometry.regions import FIRST_SIDE, GROWTH, SIZES, WEIGHTY_SIDE, name_regions

WORLD = World(-2.0, -3.0, 10.0)
PLANTED = {"kings": (0.2, 0.8), "football": (0.8, 0.2), "rivers": (0.75, 0.8)}
NOISE = [f"noise{i}" for i in range(40)]


def make_map(per_place: int = 30, noise: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Features with one word each around its place, among many with any word anywhere; "the" is everywhere."""
    rng, places, pairs = np.random.default_rng(0), [], []
    texts = [*PLANTED, "the", *NOISE]
    for number, middle in enumerate(PLANTED.values()):
        for _ in range(per_place):
            pairs += [(len(places), number)]
            places.append(np.array(middle) + rng.normal(0, 0.02, 2))
    for _ in range(noise):
        pairs += [(len(places), len(PLANTED) + 1 + int(rng.integers(len(NOISE))))]
        places.append(rng.random(2))
    pairs += [(point, len(PLANTED)) for point in range(len(places))]
    xy = np.array(places) * WORLD.size + (WORLD.x0, WORLD.y0)
    return xy.astype(np.float32), *np.array(sorted(pairs)).T, texts


def name(per_place: int = 30, noise: int = 600) -> list[Region]:
    xy, point, word, texts = make_map(per_place, noise)
    return name_regions(WORLD, xy, point, word, texts, np.ones(len(texts)))


def test_planted_places_get_their_planted_names() -> None:
    first = name()[: len(PLANTED)]
    assert {region.name for region in first} == set(PLANTED)
    for region in first:
        x, y = PLANTED[region.name]
        assert ((region.x - WORLD.x0) / WORLD.size, (region.y - WORLD.y0) / WORLD.size) == pytest.approx(
            (x, y), abs=0.03
        )
        assert region.num_features > 10
        assert region.side < 1000, "they are names of the whole map"


def test_a_word_that_is_everywhere_names_no_place() -> None:
    assert not any("the" in region.name.split(", ") for region in name())


@pytest.mark.parametrize("size", range(SIZES))
def test_no_two_names_overlap_at_any_size(size: int) -> None:
    side = FIRST_SIDE * GROWTH**size
    shown = [region for region in name(per_place=200, noise=4000) if region.side <= side * 1.0001]
    boxes = []
    for region in shown:
        (width, height), x, y = box_of(region.name), region.x / WORLD.size * side, region.y / WORLD.size * side
        boxes.append((x - width / 2, x + width / 2, y - height / 2, y + height / 2))
    for i, (x0, x1, y0, y1) in enumerate(boxes):
        for a0, a1, b0, b1 in boxes[:i]:
            assert x1 <= a0 + 0.1 or a1 <= x0 + 0.1 or y1 <= b0 + 0.1 or b1 <= y0 + 0.1


def test_names_come_by_the_size_at_which_they_have_room() -> None:
    sides = [region.side for region in name(noise=4000)]
    assert sides == sorted(sides)
    assert len(set(sides)) > 3


def test_words_that_share_a_place_name_it_together() -> None:
    xy, point, word, texts = make_map()
    queens = len(texts)
    point, word = np.append(point, np.arange(25)), np.append(word, np.full(25, queens))
    order = np.argsort(point, kind="stable")
    regions = name_regions(WORLD, xy, point[order], word[order], [*texts, "queens"], np.ones(queens + 1))
    assert "kings, queens" in {region.name for region in regions[:3]}


def test_a_word_that_tells_little_waits_until_the_map_is_larger() -> None:
    xy, point, word, texts = make_map()
    weight = np.ones(len(texts))
    weight[texts.index("rivers")] = WEIGHTY_SIDE / 1000
    sides = {region.name: region.side for region in name_regions(WORLD, xy, point, word, texts, weight)}
    assert min(sides["kings"], sides["football"]) < 1000 <= sides["rivers"]


def test_two_runs_name_alike_and_an_empty_map_has_no_names() -> None:
    assert name() == name()
    none = np.zeros(0, np.int64)
    assert name_regions(WORLD, np.zeros((0, 2), np.float32), none, none, [], np.zeros(0)) == []
