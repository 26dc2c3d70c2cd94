"""Effects at single tokens of any model of transformers, by its own layers (see effects.py).

The cases of a text stand behind it as further tokens, each with the position of the token that it takes the place of,
and a mask by which it sees what that token sees before it, and itself. Texts and cases are in float32.

Shapes: B texts, L positions, C cases, D width, N tokens of a text with the cases behind it, P positions of it.
"""

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn

from pipeline.models.decoder import llama_obstacle
from pipeline.models.effects import LaterLayers, LlamaLayers, Places
from pipeline.models.errors import ModelError
from pipeline.models.hooks import Later
from pipeline.models.language_model import LanguageModel
from pipeline.models.modules import Given, PassOn, Wide, shallow, wide_dtype

TRIED = 5
"""Tokens on which it is tried whether a model can be read so."""
TOLERANCE = 1e-3
"""Relative difference to the model itself that is allowed there."""


def make_later_layers(language_model: LanguageModel) -> LaterLayers:
    """The later layers of a model. Raises ModelError when effects cannot be measured on it."""
    return PlainLayers(language_model) if llama_obstacle(language_model.model) else LlamaLayers(language_model)


def effects_obstacle(language_model: LanguageModel) -> str:
    """The reason why effects cannot be measured on a model; "" when they can."""
    try:
        make_later_layers(language_model)
    except ModelError as error:
        return f"{error}."
    return ""


class PlainLayers(LaterLayers):
    """The layers after a hook, by transformers' own code."""

    def __init__(self, language_model: LanguageModel) -> None:
        """Raises ModelError when places in a text do not act on the layers by masks and position numbers alone."""
        super().__init__(language_model)
        self._parts, self._first = language_model.parts, language_model.cut.num_layers
        self._masked = [_Masked(layer) for layer in self._parts.layers[self._first :]]
        self._check(language_model)

    @torch.no_grad()
    def _check(self, language_model: LanguageModel) -> None:
        dtype = wide_dtype(language_model.dtype)
        tokens = torch.arange(TRIED, device=language_model.device)[None]
        x_1LD = self._narrow.lift(*language_model.read(tokens)).to(dtype)
        expected_LD = Later(self._parts, self._first, wide=True)(x_1LD)[0]
        places = Places(torch.zeros(TRIED - 1, dtype=torch.long), torch.arange(1, TRIED))
        found_CD = self._run(x_1LD, places, x_1LD[0, 1:])
        if not (found_CD - expected_LD[1:]).norm() <= TOLERANCE * expected_LD[1:].norm():
            raise ModelError(f"Effects cannot be measured on {type(self._parts.model).__name__}, token by token")

    def _run(self, x_BLD: Tensor, places: Places, x_CD: Tensor) -> Tensor:
        found_CD = torch.empty_like(x_CD)
        for text, start, stop in places.ranges():
            position_C = places.position_C[start:stop].to(x_BLD.device)
            seen = int(position_C.max())
            x_ND = torch.cat([x_BLD[text, :seen].to(x_CD.dtype), x_CD[start:stop]])
            position_N = torch.cat([torch.arange(seen, device=x_BLD.device), position_C])
            masks = [_with_cases(mask_PP, position_C) for mask_PP in self._masks(seen + 1, x_ND)]
            found_CD[start:stop] = self._later(x_ND, position_N, masks)[seen:]
        return found_CD

    def _later(self, x_ND: Tensor, position_N: Tensor, masks: list[Tensor]) -> Tensor:
        """Input of the head [N, D]."""
        for layer, mask_NN in zip(self._masked, masks, strict=True):
            layer.mask_NN = mask_NN
        core, given = self._core([*self._masked, Wide(self._parts.norm)])
        given.x = x_ND[None]
        out = core(inputs_embeds=x_ND[None], position_ids=position_N[None], use_cache=False)
        return cast(Tensor, out.last_hidden_state[0])

    def _masks(self, length: int, like: Tensor) -> list[Tensor]:
        """The masks by which each later layer sees a text of some length, as the model makes them: bool [P, P].

        A model leaves out a mask that only looks back. One more token, which is padding, makes it give all of them.
        """
        seeing = [_Seeing(layer) for layer in self._parts.layers[self._first :]]
        core, given = self._core([*seeing, nn.Identity()])
        x_1PD = like.new_zeros(1, length + 1, like.shape[1])
        given.x = x_1PD
        own_1P = torch.ones(1, length + 1, dtype=torch.long, device=like.device)
        own_1P[0, -1] = 0
        core(inputs_embeds=x_1PD, attention_mask=own_1P, use_cache=False)
        back_PP = torch.ones(length, length, dtype=torch.bool, device=like.device).tril_()
        return [back_PP if one.mask is None else back_PP & _seen(one.mask)[:length, :length] for one in seeing]

    def _core(self, later: list[nn.Module]) -> tuple[Any, Given]:
        """The core with other later layers and norm, and the module that is given the stream."""
        structure, core = self._parts.structure, shallow(self._parts.core)
        given = Given(later[0])
        layers = [*(PassOn() for _ in range(self._first)), given, *later[1:]]
        setattr(core, structure.layers, nn.ModuleList(layers[:-1]))
        setattr(core, structure.norm, layers[-1])
        return core, given


class _Masked(nn.Module):
    """A layer in float32 that sees by a mask of its own."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer, self._wide = layer, Wide(layer)
        self.mask_NN: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        assert self.mask_NN is not None, "it is set before the model is run"
        called = inspect.signature(self._layer.forward).bind(*args, **kwargs)
        given = called.arguments.get("attention_mask")
        mask_NN = self.mask_NN
        if given is not None and given.dtype != torch.bool:
            mask_NN = torch.zeros_like(mask_NN, dtype=given.dtype).masked_fill(~mask_NN, torch.finfo(given.dtype).min)
        called.arguments["attention_mask"] = mask_NN[None, None]
        return self._wide(*called.args, **called.kwargs)


class _Seeing(nn.Module):
    """Stands in for a layer, and keeps the mask that it is called with."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._signature = inspect.signature(layer.forward)
        self.mask: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        called = self._signature.bind(*args, **kwargs)
        self.mask = called.arguments.get("attention_mask")
        hidden: Tensor = called.args[0]
        return hidden


def _seen(mask: Tensor) -> Tensor:
    """A mask of transformers, of truth or of what is added to scores, as truth [P, P]."""
    mask_PP = mask[0, 0]
    return mask_PP if mask_PP.dtype == torch.bool else mask_PP >= 0


def _with_cases(mask_PP: Tensor, position_C: Tensor) -> Tensor:
    """The mask of a text without its last token and cases behind it: bool [N, N]. P: up to the last case's position."""
    seen, C = len(mask_PP) - 1, len(position_C)
    mask_NN = torch.zeros(seen + C, seen + C, dtype=torch.bool, device=mask_PP.device)
    mask_NN[:seen, :seen] = mask_PP[:seen, :seen]
    before_CP = torch.arange(seen, device=mask_PP.device) < position_C[:, None]
    mask_NN[seen:, :seen] = mask_PP[position_C][:, :seen] & before_CP
    mask_NN[seen:, seen:] = torch.eye(C, dtype=torch.bool, device=mask_PP.device)
    return mask_NN
