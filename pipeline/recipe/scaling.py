"""Section of the recipe on scaling laws: which sizes, token counts and learning rates are trained, and how."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data.artifacts.scaling_advice import GPU_FLOPS
from pipeline.recipe.section import Positive, Section

Size = Annotated[int, Field(ge=2, le=2**30)]
Rate = Annotated[float, Field(gt=0, le=1)]


class GridConfig(Section):
    """One grid: every size with every token count, all with the same objective."""

    architecture: Literal["relu", "topk"] = "relu"
    l1_coefficient: Annotated[float, Field(ge=0)] = 5.0
    """relu: lambda."""
    k: Positive | None = None
    """topk: active features per token."""
    num_features: Annotated[tuple[Size, ...], Field(min_length=1)]
    """Sizes."""
    num_tokens: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """Training tokens; more than were harvested are read again."""
    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1)]
    """One for all sizes, or several that are swept."""
    sweep_features: tuple[Size, ...] = ()
    """Sizes at which learning rates are swept; a power law gives that of the others."""
    sweep_tokens: Positive | None = None
    """Token count of the sweep."""
    held_out: tuple[tuple[Size, Positive], ...] = ()
    """Pairs of a size and a token count that no law is fitted to, so that it can be tried on them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("num_features", "num_tokens", "learning_rates", "sweep_features", "held_out"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one twice")
        self._check_objective()
        self._check_sweep()
        for size, tokens in self.held_out:
            if size not in self.num_features or tokens not in self.num_tokens:
                raise ValueError(f"held_out [{size}, {tokens}] is not among num_features and num_tokens")
            if size in self.sweep_features and tokens == self.sweep_tokens:
                raise ValueError(f"held_out [{size}, {tokens}] is part of the sweep, to which a law is fitted")
        return self

    def _check_objective(self) -> None:
        if self.architecture == "relu" and self.k is not None:
            raise ValueError("architecture 'relu' takes no k")
        if self.architecture == "topk" and (self.k is None or self.k >= min(self.num_features)):
            raise ValueError("architecture 'topk' needs k, below all of num_features")

    def _check_sweep(self) -> None:
        if len(self.learning_rates) == 1:
            if self.sweep_features or self.sweep_tokens is not None:
                raise ValueError("a sweep needs at least three learning_rates")
            return
        if len(self.learning_rates) < 3:
            raise ValueError("learning_rates: give one for all sizes, or at least three to sweep")
        if not self.sweep_features or self.sweep_tokens is None:
            raise ValueError("several learning_rates need sweep_features and sweep_tokens, at which they are swept")
        if not set(self.sweep_features) <= set(self.num_features) or self.sweep_tokens not in self.num_tokens:
            raise ValueError("sweep_features must be among num_features, and sweep_tokens among num_tokens")

    @property
    def name(self) -> str:
        """relu-2.5, topk-32."""
        return f"{self.architecture}-{self.objective[1]:g}"

    @property
    def objective(self) -> tuple[str, float | int]:
        """What the loss is: grids of one recipe must differ in it."""
        return (self.architecture, self.k if self.k is not None else self.l1_coefficient)


UNDECIDING = frozenset({"max_hours", "gpu_flops", "checkpoint_seconds"})
"""Settings on which no cell depends."""


class ScaleConfig(Section):
    """Scaling laws: many small trainings, and what they say of larger ones."""

    grids: tuple[GridConfig, ...] = ()
    """None: nothing is trained."""
    batch_size: Positive = 1024
    """Tokens in one step, of all cells."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps over which lambda rises linearly from 0: a number and not a share, so that longer trainings begin as
    shorter ones do."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of a cell's steps, at its end, over which the learning rate falls linearly to 0; constant before."""
    auxiliary_coefficient: Annotated[float, Field(ge=0)] = 1 / 32
    """topk: weight of the auxiliary loss that revives dead features."""
    dead_window: Positive = 100_000
    """topk: tokens after which an inactive feature is revived, whatever the length of the training."""
    held_out_tokens: Positive = 16_384
    """Held-out tokens on which all cells are measured."""
    rare_tokens: Annotated[int, Field(ge=1)] = 8
    """A feature that is active on fewer of the held-out tokens than this is rare."""
    max_hours: Annotated[float, Field(gt=0)] = 12.0
    """Grids that will take longer on this machine are refused: before a run those of all its hooks together, in the
    stage the cells of its own hook that are missing."""
    gpu_flops: Annotated[float, Field(gt=0)] = GPU_FLOPS
    """Of advice in GPU-hours: operations that one GPU does each second while it trains."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 180.0
    """Of the clock, between two checkpoints."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        objectives = [grid.objective for grid in self.grids]
        if len(set(objectives)) < len(objectives):
            raise ValueError("two grids have the same objective: give their sizes and tokens in one")
        for grid in self.grids:
            self._check_steps(min(grid.num_tokens))
        return self

    def _check_steps(self, num_tokens: int) -> None:
        num_steps = num_tokens // self.batch_size
        if num_steps - self.decay_steps(num_steps) < max(1, self.warmup_steps):
            raise ValueError(
                f"num_tokens {num_tokens:,} are {num_steps} steps of batch_size {self.batch_size:,}, too few for "
                f"{self.warmup_steps} warmup_steps before the last {self.decay_fraction:.0%}: give more tokens, or "
                "lower batch_size or warmup_steps"
            )

    def decay_steps(self, num_steps: int) -> int:
        """Steps of a training over which its learning rate falls."""
        return max(1, round(self.decay_fraction * num_steps))
