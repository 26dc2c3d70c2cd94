"""The page of scaling laws and its API, against a made report."""

import csv
import io
import json
import re
from dataclasses import asdict, replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.html.formats import number
from backend.published.scaling import main_cells
from backend.scaling.advice import budget_form
from backend.scaling.figures import compute_figure, iso_figure, metric_figures, rate_figures
from backend.scaling.page import _minimum_rows
from backend.scaling.wording import headline, law_rows, limits, power, short, spent, supports
from data.artifacts.scaling import GridReport, ScalingReport
from data.artifacts.scaling_advice import GPU_FLOPS, advise
from data.artifacts.scaling_budgets import read_budget
from data.artifacts.scaling_laws import Interval, value_at
from data.errors import ConfigError
from tests.support.pages import Page, check_nothing_inline
from tests.support.scaling import HELD_OUT, RATES, SIZES, TOKENS


@pytest.fixture
def grid(report: ScalingReport) -> GridReport:
    return report.grids[0]


def anchors(figure: dict[str, Any]) -> set[str]:
    return {href for trace in figure["data"] for href in trace.get("customdata", [])}


def test_the_page_leads_with_what_more_compute_should_buy(scaled: TestClient, grid: GridReport) -> None:
    answer = scaled.get("/scaling")
    page = Page(answer.text)
    assert answer.context["headline"] == "Ten times the compute: 3.6 times the features, 2.8 times the tokens"
    law = answer.context["headline_range"]
    assert law.startswith("95% intervals: ")
    assert law in page.text
    low, high = (number(10**end, 2) for end in (grid.features.exponent.low, grid.features.exponent.high))
    assert f"{low} to {high} times the features" in law
    fitted = [cell.flops for cell in grid.cells if cell.in_fit]
    assert law.endswith(f"measured from {power(min(fitted))} to {power(max(fitted))} FLOPs.")
    assert "squared error + λ × sum of activations, λ = 2.5" in page.text
    check_nothing_inline(answer.text)


def test_every_point_leads_to_the_row_of_its_cell(scaled: TestClient, grid: GridReport) -> None:
    answer = scaled.get("/scaling")
    rows = {f"#{a['id']}" for tag, a in Page(answer.text).elements if tag == "tr" and "id" in a}
    assert rows == {f"#cell-{cell.key}" for cell in grid.cells}
    shown = answer.context["shown"]
    figures = [shown.compute, shown.iso, *shown.best, *shown.rates, *shown.metrics]
    led = set().union(*(anchors(one.figure) for one in figures))
    assert led <= rows
    assert anchors(shown.compute.figure) == {f"#cell-{cell.key}" for cell in main_cells(grid)}
    assert [one.href for one in shown.predictions] == [f"#cell-{one.cell}" for one in grid.predictions]


def test_without_scripts_the_numbers_stand_in_tables(scaled: TestClient, grid: GridReport) -> None:
    text = " ".join(Page(scaled.get("/scaling").text).text.split())
    assert f"All {len(grid.cells)} cells" in text
    for name in ("Floor", "Exponent of compute", "α, of features", "β, of tokens", "δ, demand", "Residuals"):
        assert name in text
    assert "The loss was not finite at step 40." in text
    assert "of 2 that were kept out of the fit, 2 within the interval that was predicted" in text


def test_one_objective_is_shown_at_a_time(scaled: TestClient, report: ScalingReport) -> None:
    shown = scaled.get("/scaling?objective=topk-32").context["shown"]
    assert {row.key for row in shown.cells} == {cell.key for cell in report.grids[1].cells}
    assert [link.current for link in shown.objectives] == [False, True]
    assert shown.law == shown.best == shown.predictions == []
    assert {row.use for row in shown.cells} == {"shown"}
    assert shown.advice is None
    assert anchors(shown.compute.figure) == {f"#cell-{cell.key}" for cell in report.grids[1].cells}


def test_where_there_is_no_law_the_points_stand_alone_and_it_is_said(scaled: TestClient) -> None:
    answer = scaled.get("/scaling?objective=topk-32")
    assert answer.context["headline"] == "How many features, and how many tokens?"
    assert answer.context["headline_range"] == ""
    assert "No law is fitted: 4 cells are too few: 9 are needed." in Page(answer.text).text
    modes = [trace["name"] for trace in answer.context["shown"].compute.figure["data"]]
    assert modes == ["512", "1,024"]


def test_a_run_without_a_grid_says_so(pages: TestClient) -> None:
    answer, report = pages.get("/scaling"), pages.get("/api/v1/scaling/fake").json()["report"]
    assert answer.status_code == 200
    assert answer.context["shown"] is None
    assert report["grids"] == []
    assert report["why_none"] in Page(answer.text).text
    assert pages.get("/scaling?budget=1e13flops&objective=relu-2.5").status_code == 200


@pytest.mark.parametrize("query", ["run=none", "objective=relu-9"])
def test_what_is_not_there_is_said(scaled: TestClient, query: str) -> None:
    assert scaled.get(f"/scaling?{query}").status_code == 404


def test_a_published_sae_of_the_same_size_and_objective_is_linked(
    scaled: TestClient, report: ScalingReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scaled.app.state.library.catalogue().runs[0]
    sae = next(one for one in run.saes if one.record.architecture == "relu")
    grid = report.grids[0]
    cell = replace(grid.cells[0], num_features=sae.num_features)
    changed = replace(grid, l1_coefficient=sae.record.config["l1_coefficient"], cells=(cell, *grid.cells[1:]))
    monkeypatch.setattr("backend.scaling.page.scaling_of", lambda _: replace(report, grids=(changed,)))
    monkeypatch.setattr("backend.scaling.page.find_grid", lambda *_: changed)
    rows = scaled.get("/scaling").context["shown"].cells
    assert rows[0].published.href == sae.href
    assert {row.published for row in rows[1:]} == {None}


def test_the_api_gives_the_report(scaled: TestClient, report: ScalingReport) -> None:
    expected = json.loads(json.dumps(report.as_json()))
    for address in ("/api/v1/scaling", "/api/v1/scaling/fake"):
        assert scaled.get(address).json() == {"run": "fake", "report": expected}
    assert scaled.get("/api/v1/scaling/fake/topk-32").json() == expected["grids"][1]
    assert scaled.get("/api/v1/scaling/none").status_code == 404
    assert scaled.get("/api/v1/scaling/fake/none").status_code == 404
    assert scaled.get("/api/v1/scaling/fake/relu-2.5/none.csv").status_code == 422


def table(client: TestClient, name: str) -> list[dict[str, str]]:
    answer = client.get(f"/api/v1/scaling/fake/relu-2.5/{name}.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="fake_relu-2.5_{name}.csv"'
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_all_data_comes_as_csv(scaled: TestClient, grid: GridReport) -> None:
    cells = table(scaled, "cells")
    assert [row["key"] for row in cells] == [cell.key for cell in grid.cells]
    assert [float(row["loss"]) for row in cells if row["loss"]] == [cell.loss for cell in grid.usable]
    curves = table(scaled, "curves")
    assert {row["curve"] for row in curves} == {"loss", "features", "tokens", "learning_rate"}
    rates = {float(row["x"]): row["extrapolated"] for row in curves if row["curve"] == "learning_rate"}
    assert rates == {size: str(size > grid.learning_rate.largest_swept) for size in SIZES}
    lowest = [row for row in table(scaled, "iso-curves") if row["kind"] == "minimum"]
    minima = [curve for curve in grid.iso_curves if curve.minimum]
    for row, curve in zip(lowest, minima, strict=True):
        for name, one in (("num_features", curve.minimum_features), ("num_tokens", curve.minimum_tokens)):
            assert (float(row[f"{name}_low"]), float(row[f"{name}_high"])) == (one.low, one.high)
    assert [float(row["predicted"]) for row in table(scaled, "predictions")] == [
        one.predicted.value for one in grid.predictions
    ]
    links = Page(scaled.get("/scaling").text).links()
    assert "/api/v1/scaling/fake/relu-2.5/cells.csv" in links


def test_the_law_is_solid_within_the_cells_and_dotted_beyond(grid: GridReport) -> None:
    cells = main_cells(grid)
    band, solid, dotted = compute_figure(grid, cells).figure["data"][:3]
    assert band["fill"] == "toself"
    assert solid["x"] == [point.x for point in grid.loss.curve]
    assert dotted["line"]["dash"] == "dot"
    assert dotted["x"][0] == solid["x"][-1]
    assert 50 * solid["x"][-1] < dotted["x"][-1] <= 100.001 * solid["x"][-1] < grid.loss.beyond[-1].x


def test_cells_of_a_sweep_stand_in_the_figure_of_learning_rates_alone(grid: GridReport) -> None:
    cells = main_cells(grid)
    assert len(cells) == len(SIZES) * len(TOKENS)
    tried, best = rate_figures(grid)
    assert [trace["x"] for trace in tried.figure["data"]] == [list(RATES)] * 3
    assert not anchors(tried.figure) & anchors(compute_figure(grid, cells).figure)
    assert "beyond 2,048" in best.about


def test_learning_rates_of_sizes_on_either_side_of_the_swept_ones_are_drawn_as_extrapolated(grid: GridReport) -> None:
    assert grid.learning_rate
    inner = replace(grid, learning_rate=replace(grid.learning_rate, smallest_swept=1024, largest_swept=4096))
    best = rate_figures(inner)[1]
    band, solid, below, beyond = best.figure["data"][:4]
    assert (below["x"], solid["x"], beyond["x"]) == ([512, 1024], [1024, 2048, 4096], [4096, 8192, 16384])
    assert [one["line"]["dash"] for one in (below, solid, beyond)] == ["dot", "solid", "dot"]
    assert [one["name"] for one in (below, beyond)] == ["extrapolated", ""]
    assert set(band["x"]) == set(SIZES)
    assert best.about.endswith("; sizes below 1,024 and beyond 4,096 are extrapolated.")
    every = replace(grid.learning_rate, largest_swept=SIZES[-1])
    whole = rate_figures(replace(grid, learning_rate=every))[1]
    assert [trace["x"] for trace in whole.figure["data"][1:2]] == [list(SIZES)]
    assert "extrapolated" not in whole.about


def test_the_metrics_run_along_tokens_or_features(grid: GridReport) -> None:
    cells = main_cells(grid)
    along = {name: metric_figures(cells, name)[0].figure["data"] for name in ("tokens", "features")}
    assert [trace["x"] for trace in along["tokens"]] == [list(TOKENS)] * len(SIZES)
    assert [trace["x"] for trace in along["features"]] == [list(SIZES)] * len(TOKENS)
    assert [one.title for one in metric_figures(cells, "tokens")] == [
        "Loss", "Explained variance", "L0: active features per token", "Dead share", "Rare share",
    ]  # fmt: skip


def test_curves_of_equal_compute_mark_their_lowest_point(grid: GridReport) -> None:
    titled = iso_figure(grid, main_cells(grid))
    assert titled
    diamonds = [trace for trace in titled.figure["data"] if trace.get("marker", {}).get("symbol") == "diamond"]
    minima = [curve.minimum for curve in grid.iso_curves if curve.minimum]
    assert [trace["x"] for trace in diamonds] == [[one.num_features] for one in minima]
    for trace, low in zip(diamonds, minima, strict=True):
        assert trace["error_x"]["array"] == pytest.approx([0.2 * low.num_features])
        assert trace["error_x"]["arrayminus"] == pytest.approx([0.1 * low.num_features])


def test_lowest_points_stand_in_a_table_with_their_intervals(scaled: TestClient, grid: GridReport) -> None:
    page = scaled.get("/scaling")
    rows = page.context["shown"].minima
    first = next(curve for curve in grid.iso_curves if curve.minimum)
    low = first.minimum.num_features
    assert len(rows) == sum(curve.minimum is not None for curve in grid.iso_curves)
    assert (
        rows[0].features == f"{short(low)} ({short(float(f'{0.9 * low:.3g}'))} to {short(float(f'{1.2 * low:.3g}'))})"
    )
    assert rows[0].tokens in Page(page.text).text
    bare = replace(first, minimum_features=None)
    assert "(" not in _minimum_rows(replace(grid, iso_curves=(bare,)))[0].features


def test_advice_follows_the_laws_and_says_how_far_it_goes(grid: GridReport) -> None:
    near, far = budget_form(grid, "1e13 FLOPs"), budget_form(grid, "1e15flops")
    expected = value_at(grid.features.curve, 1e13)
    assert near.answer[0] == ("Features", f"{short(expected.value)} ({short(expected.low)} to {short(expected.high)})")
    assert [name for name, _ in near.answer] == ["Features", "Tokens", "Loss", "Learning rate"]
    assert near.warning == ""
    assert re.fullmatch(r"This is [\d.]+ times the compute of the largest cell: an extrapolation.", far.warning)
    assert dict(far.answer)["Learning rate"].endswith(", extrapolated")
    assert budget_form(grid, "200gpu-hours").warning.endswith("its intervals hold only if the law does.")


def test_gpu_hours_flops_and_tokens_are_budgets_of_the_page_as_of_the_command_line(
    scaled: TestClient, grid: GridReport
) -> None:
    flops = 1e13
    tokens = value_at(grid.tokens.curve, flops).value
    spelled = (f"{flops / 3600 / GPU_FLOPS:.12g} GPU hours", "1e13 FLOPs", f"{tokens:.6g}tokens")
    pages = [scaled.get("/scaling", params={"budget": one}) for one in spelled]
    answers = [dict(page.context["shown"].advice.answer) for page in pages]
    assert [{name: one[name] for name in ("Features", "Tokens", "Loss")} for one in answers[:2]] == [
        {name: answers[1][name] for name in ("Features", "Tokens", "Loss")}
    ] * 2
    assert answers[0]["Compute"] == answers[2]["Compute"] == "1.0 × 10¹³ FLOPs"
    for page, one in zip(pages, spelled, strict=True):
        boxes = [a for tag, a in Page(page.text).elements if tag == "input" and a.get("name") == "budget"]
        assert [box["value"] for box in boxes] == [one]
        assert "counted at 4 × 10¹⁴ FLOPs each second" in Page(page.text).text


def test_older_addresses_name_a_number_of_flops(scaled: TestClient) -> None:
    older, newer = (scaled.get(f"/scaling?objective=relu-2.5&{one}") for one in ("flops=1e13", "budget=1e13FLOPs"))
    assert older.context["shown"].advice == newer.context["shown"].advice
    assert older.context["shown"].advice.answer
    assert "flops=" not in " ".join(Page(older.text).links())
    both = scaled.get("/scaling?flops=1e13&budget=2e13FLOPs")
    assert both.context["shown"].advice.typed == "2e13FLOPs"
    assert "is no budget" in scaled.get("/scaling?flops=many").context["shown"].advice.problem
    assert scaled.get("/scaling?flops=" + "9" * 50).status_code == 422


@pytest.mark.parametrize(
    "typed", ["many", "1e13", "-1e13flops", "nan flops", "1e400flops", "1e40flops", "1flops", "1e30tokens"]
)
def test_a_budget_outside_all_sense_gets_the_message_of_the_command_line(
    scaled: TestClient, grid: GridReport, typed: str
) -> None:
    form = budget_form(grid, typed)
    with pytest.raises(ConfigError) as refused:
        advise(grid, read_budget(typed))
    assert form.answer == []
    assert form.problem.casefold() == f"{refused.value}.".casefold()
    assert scaled.get("/scaling", params={"budget": typed}).context["shown"].advice.problem == form.problem
    answer = scaled.get("/api/v1/scaling/fake/relu-2.5/advice", params={"budget": typed})
    assert answer.status_code == 422
    assert str(refused.value) in answer.text


def test_the_api_advises_on_a_budget_as_it_is_typed(scaled: TestClient, grid: GridReport) -> None:
    answer = scaled.get("/api/v1/scaling/fake/relu-2.5/advice", params={"budget": "0.001 gpu-hours"}).json()
    advice = advise(grid, read_budget("0.001gpu-hours"))
    assert (answer["budget"], answer["gpu_flops"]) == ("0.001 gpu-hours", GPU_FLOPS)
    assert answer["advice"] == json.loads(json.dumps(asdict(advice)))
    address = "/api/v1/scaling/fake/topk-32/advice"
    assert scaled.get(address, params={"budget": "1e13flops"}).status_code == 422
    assert scaled.get(address).status_code == 422


def test_what_the_fit_supports_is_said_and_what_not(report: ScalingReport, grid: GridReport) -> None:
    cells = main_cells(grid)
    said, not_said = supports(grid, cells), limits(report, grid, cells)
    assert said[0].startswith("Loss from 512 to 16,384 features, 65.5k to 1.05M tokens and")
    assert any("360,922 different tokens; 12 cells read some of them again" in line for line in not_said)
    assert any("4,096, 8,192, 16,384 features: it is extrapolated" in line for line in not_said)
    assert "1 cell that diverged: it is listed below, and left out of every fit." in not_said
    assert len(HELD_OUT) == len(grid.predictions)
    assert headline(report.grids[1]).endswith("?")


def test_numbers_are_short() -> None:
    assert power(1.62e13) == "1.6 × 10¹³"
    assert power(9.99e13) == "1.0 × 10¹⁴"
    assert [short(value) for value in (512, 8192, 65_536, 1_048_576, 3e9)] == ["512", "8,192", "65.5k", "1.05M", "3B"]
    assert [spent(seconds) for seconds in (48.2, 2266.0, 9000.0)] == ["48 seconds", "38 minutes", "2.5 hours"]


def test_a_floor_that_may_be_none_is_said_to_be_hardly_known(grid: GridReport) -> None:
    assert grid.loss
    unknown = replace(grid.loss, floor=Interval(1.5e-6, 0.0, 124.5))
    assert law_rows(grid.loss)[0][1] == "40.0 (38.0 to 42.0)"
    assert law_rows(unknown)[0][1] == "0 (0 to 124), hardly known"
