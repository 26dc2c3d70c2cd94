from pathlib import Path

from data.published.maps import View
from data.published.regions import PublishedRegions, Region, box_of, write_regions

REGIONS = [
    Region("years", 0.5, 0.5, 320.0, 40),
    Region("kings, queens", -1.0, 2.0, 320.0, 12),
    Region("football", 0.25, 0.75, 640.0, 9),
    Region("日本", 0.5, 0.5, 5120.0, 4),
]
ALL = View(-9, 9, -9, 9)


def test_names_of_a_view_are_those_that_have_room_there(tmp_path: Path) -> None:
    write_regions(tmp_path, REGIONS)
    regions = PublishedRegions(tmp_path)
    assert len(regions) == len(REGIONS)
    assert regions.within(ALL, 1e9, 10) == REGIONS
    assert regions.within(ALL, 640, 10) == REGIONS[:3]
    assert regions.within(ALL, 319, 10) == []
    assert regions.within(View(0, 1, 0, 1), 640, 10) == [REGIONS[0], REGIONS[2]]
    assert regions.within(ALL, 1e9, 2) == REGIONS[:2]


def test_a_map_may_have_no_names(tmp_path: Path) -> None:
    write_regions(tmp_path, [])
    assert PublishedRegions(tmp_path).within(ALL, 1e9, 10) == []


def test_a_longer_name_takes_more_room() -> None:
    assert box_of("kings, queens")[0] > box_of("kings")[0] > 30
