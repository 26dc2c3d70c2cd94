"""Modules that stand in a model for others: to pass on, to give something else, to run in float32."""

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint


def shallow(module: nn.Module) -> Any:
    """The same module with a table of children of its own, sharing all weights."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def unhooked(module: nn.Module) -> Any:
    """The same as `shallow`, without what was hooked to the module, or will be."""
    twin = shallow(module)
    for name, value in vars(module).items():
        if "_hooks" in name and isinstance(value, dict):
            twin.__dict__[name] = OrderedDict()
    return twin


class PassOn(nn.Module):
    """Stands in for a layer that has been run already."""

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return hidden_states


class Given(nn.Module):
    """A module that reads what it was given beforehand, whatever it is called with."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.x: Tensor | None = None

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        assert self.x is not None, "it is given before the model is run"
        return self.module(self.x, *args, **kwargs)


class Nothing(nn.Module):
    """Adds nothing to the residual stream."""

    def __init__(self, *, as_tuple: bool) -> None:
        """as_tuple: it stands for a module that gives something beside."""
        super().__init__()
        self._as_tuple = as_tuple

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        zeros = torch.zeros_like(input_of(args, kwargs))
        return (zeros, None) if self._as_tuple else zeros


class Wide(nn.Module):
    """A part of the model in float32, its weights widened while it runs and forgotten after."""

    def __init__(self, narrow: nn.Module, *, again: bool = True) -> None:
        """again: run it again in a backward pass, so that neither widened weights nor what is within it are kept."""
        super().__init__()
        self.narrow, self._again = narrow, again

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not (self._again and torch.is_grad_enabled()):
            return self._run(*args, **kwargs)
        return checkpoint(self._run, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        tensors = [*self.narrow.named_parameters(), *self.narrow.named_buffers()]
        wide = {name: tensor.to(wide_dtype(tensor.dtype)) for name, tensor in tensors if tensor.is_floating_point()}
        return functional_call(self.narrow, wide, args, kwargs)


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 of a model in that."""
    return torch.promote_types(dtype, torch.float32)


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The hidden states that a module is called with; None where it is called with none."""
    found = args[0] if args else kwargs.get("hidden_states")
    return found if isinstance(found, Tensor) else None


def output_of(output: Any) -> Any:
    """A module's output, or the first of several; None where that is no tensor."""
    found = output[0] if isinstance(output, tuple) and output else output
    return found if isinstance(found, Tensor) else None
