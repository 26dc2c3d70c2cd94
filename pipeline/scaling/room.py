"""What a grid needs of a machine: operations, memory, disk, hours; and which part of it would fit."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pipeline.recipe.scaling import GridConfig, ScaleConfig
from pipeline.scaling.flops import flops_per_step

TRAINING_BYTES = 17
"""Of a parameter: weight, gradient and Adam's two moments in float32; half of the weights in bfloat16 too."""
CHECKPOINT_BYTES = 12
"""The same without the gradient and the copy."""
USABLE_SHARE = 0.8
"""Of the memory that is free: the rest is for batches and their activations."""
SLOWEST = 2e10
"""Operations each second that any machine does: a grid that is short at this rate needs no timing."""

Lane = tuple[int, Sequence[int]]
"""Cells of one learning rate that are trained together: their features, and their token counts."""


def parameters(num_features: int, width: int) -> int:
    """Of one autoencoder."""
    return 2 * width * num_features + num_features + width


def lane_steps(config: ScaleConfig, num_tokens: Iterable[int]) -> int:
    """Steps of a lane: the trunk, and the falls of the learning rate at these token counts."""
    steps = [count // config.batch_size for count in num_tokens]
    decays = [config.decay_steps(count) for count in steps]
    return max(count - decay for count, decay in zip(steps, decays, strict=True)) + sum(decays)


def courses_at_once(config: ScaleConfig, num_tokens: Iterable[int]) -> int:
    """The most copies of a lane's autoencoder at any step: the trunk, and those that parted from it."""
    steps = [count // config.batch_size for count in num_tokens]
    spans = [(count - config.decay_steps(count), count) for count in steps]
    last = max(start for start, _ in spans)
    return max(sum(start <= at < stop for start, stop in spans) + (at < last) for at, _ in spans)


def lane_bytes(config: ScaleConfig, num_features: int, num_tokens: Iterable[int], width: int) -> int:
    """Memory of a lane."""
    return courses_at_once(config, num_tokens) * parameters(num_features, width) * TRAINING_BYTES


def grid_flops(config: ScaleConfig, grid: GridConfig, width: int) -> float:
    """Operations of a whole grid, its sweep included."""
    steps = lane_steps(config, grid.num_tokens) * sum(grid.num_features)
    if grid.sweep_tokens is not None:
        steps += lane_steps(config, [grid.sweep_tokens]) * sum(grid.sweep_features) * len(grid.learning_rates)
    return steps * flops_per_step(config.batch_size, width, 1)


def all_bytes(config: ScaleConfig, width: int) -> int:
    """Memory of all lanes of the grids side by side, without their sweeps."""
    return sum(lane_bytes(config, size, grid.num_tokens, width) for grid in config.grids for size in grid.num_features)


def memory_problems(config: ScaleConfig, width: int, memory: int) -> list[str]:
    """Sizes that do not fit alone, as a sentence for each grid. memory: bytes that may be used."""
    problems = []
    for grid in config.grids:
        needs = {size: lane_bytes(config, size, grid.num_tokens, width) for size in sorted(grid.num_features)}
        if needs[max(needs)] <= memory:
            continue
        fitting = [size for size, need in needs.items() if need <= memory]
        least = parameters(1, width) - width
        most = memory // (courses_at_once(config, grid.num_tokens) * TRAINING_BYTES * least)
        which = f"{fitting[-1]:,} of its sizes fits" if fitting else "none of its sizes fits"
        problems.append(
            f"grid {grid.name}: {max(needs):,} features need {needs[max(needs)] / 1e9:,.1f} GB in training, there are "
            f"{memory / 1e9:,.1f} GB of memory: {which}, and at most {most:,} features would; set "
            "scale.grids with smaller num_features"
        )
    return problems


def grid_hours(config: ScaleConfig, width: int, flops_per_second: float) -> float:
    """Hours that all grids take at a rate."""
    return sum(grid_flops(config, grid, width) for grid in config.grids) / (flops_per_second * 3600)


def hours_problem(config: ScaleConfig, width: int, flops_per_second: float, *, num_hooks: int = 1) -> str:
    """That the grids take longer than `max_hours`, and what would not, as a sentence; "" where they do not.

    num_hooks: at each of which all grids are trained.
    """

    def hours(most_features: int | None = None, most_tokens: int | None = None) -> float:
        parts = [_part(grid, most_features, most_tokens) for grid in config.grids]
        kept = config.model_copy(update={"grids": tuple(part for part in parts if part)})
        return num_hooks * grid_hours(kept, width, flops_per_second)

    if hours() <= config.max_hours:
        return ""
    sizes = sorted({size for grid in config.grids for size in grid.num_features})
    counts = sorted({count for grid in config.grids for count in grid.num_tokens})
    by_size = [most for most in sizes if hours(most_features=most) <= config.max_hours]
    by_tokens = [most for most in counts if hours(most_tokens=most) <= config.max_hours]
    found = [f"sizes up to {by_size[-1]:,}"] if by_size else []
    found += [f"token counts up to {by_tokens[-1]:,}"] if by_tokens else []
    each = f" ({num_hooks} hooks, {hours() / num_hooks:,.1f} hours each)" if num_hooks > 1 else ""
    return (
        f"the grids of this recipe take about {hours():,.1f} hours on this machine{each}, more than scale.max_hours="
        f"{config.max_hours:g}: {' or '.join(found) or 'no part of them'} would fit; give fewer or smaller cells, or "
        "raise scale.max_hours"
    )


def _part(grid: GridConfig, most_features: int | None, most_tokens: int | None) -> GridConfig | None:
    """The grid without what is too large, where anything is left."""
    sizes = tuple(size for size in grid.num_features if most_features is None or size <= most_features)
    tokens = tuple(count for count in grid.num_tokens if most_tokens is None or count <= most_tokens)
    if not sizes or not tokens:
        return None
    swept = tuple(size for size in grid.sweep_features if size in sizes)
    keep = grid.sweep_tokens in tokens and swept
    changed = {"num_features": sizes, "num_tokens": tokens, "sweep_features": swept if keep else ()}
    return grid.model_copy(update=changed | {"sweep_tokens": grid.sweep_tokens if keep else None})


def pack(needs: Sequence[int], memory: int) -> list[list[int]]:
    """Numbers of lanes that are trained side by side, a list for each reading of the shards: the largest first."""
    rounds: list[tuple[int, list[int]]] = []
    for number in sorted(range(len(needs)), key=lambda number: -needs[number]):
        place = next((at for at, (used, _) in enumerate(rounds) if used + needs[number] <= memory), None)
        if place is None:
            rounds.append((needs[number], [number]))
        else:
            used, numbers = rounds[place]
            rounds[place] = (used + needs[number], [*numbers, number])
    return [numbers for _, numbers in rounds]


def usable_memory() -> int:
    """Bytes of this machine's memory that training may use."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # not Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(USABLE_SHARE * free)


def timed_hours_problem(config: ScaleConfig, width: int, time_step: Callable[[], float], *, num_hooks: int = 1) -> str:
    """The same as `hours_problem`. time_step: measures the operations each second; asked only where it may matter."""
    if num_hooks * grid_hours(config, width, SLOWEST) <= config.max_hours:
        return ""
    return hours_problem(config, width, time_step(), num_hooks=num_hooks)


def missing_hours_problem(
    config: ScaleConfig, lanes: Sequence[Lane], width: int, time_step: Callable[[], float]
) -> str:
    """That lanes which are still to be trained take longer than `max_hours`, as a sentence; "" where they do not.

    time_step: measures the operations each second; asked only where it may matter.
    """
    steps = sum(size * lane_steps(config, counts) for size, counts in lanes)
    hours = steps * flops_per_step(config.batch_size, width, 1) / 3600
    if hours / SLOWEST <= config.max_hours or (hours := hours / time_step()) <= config.max_hours:
        return ""
    return (
        f"the cells that are not trained yet take about {hours:,.1f} hours on this machine, more than "
        f"scale.max_hours={config.max_hours:g}: give fewer or smaller cells, or raise scale.max_hours"
    )
