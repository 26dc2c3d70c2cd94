"""Hooks: places in a language model that SAEs read, as recipes, addresses and pages name them.

What each is, and how it is read and steered, is in `pipeline/models/hooks.py`.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

Hook = Literal["resid_pre", "resid_mid", "resid_post", "attn", "mlp"]
HOOKS: tuple[Hook, ...] = get_args(Hook)
RESID_POST: Hook = "resid_post"
"""The one that is meant where none is named."""

IN_WORDS: dict[Hook, str] = {
    "resid_pre": "the residual stream before layer {layer}",
    "resid_mid": "the residual stream in layer {layer}, between its attention and its MLP",
    "resid_post": "the residual stream after layer {layer}",
    "attn": "what the attention of layer {layer} adds to the residual stream",
    "mlp": "what the MLP of layer {layer} adds to the residual stream",
}


BRIEFLY: dict[Hook, str] = {
    "resid_pre": "before layer {layer}",
    "resid_mid": "the middle of layer {layer}",
    "resid_post": "layer {layer}",
    "attn": "the attention of layer {layer}",
    "mlp": "the MLP of layer {layer}",
}


class Place(NamedTuple):
    """A hook of a layer."""

    layer: int
    hook: Hook = RESID_POST

    @property
    def num_layers(self) -> int:
        """Leading layers that are run up to it."""
        return self.layer if self.hook == "resid_pre" else self.layer + 1

    @property
    def address(self) -> str:
        """It in the name of an SAE."""
        return hook_address(*self)


def hook_of(recipe: Mapping[str, Any]) -> Hook:
    """The one that a recipe names, as it is kept with what was published."""
    hook: Hook = recipe["model"].get("hook", RESID_POST)
    return hook


def hook_address(layer: int, hook: Hook = RESID_POST) -> str:
    """A hook in the name of an SAE: `14` of resid_post, `14-mlp`, `14-attn`, `14-mid`, `14-pre`."""
    return str(layer) if hook == RESID_POST else f"{layer}-{hook.removeprefix('resid_')}"


def hook_in_words(layer: int, hook: Hook = RESID_POST) -> str:
    """The place that an SAE reads, e.g. "the residual stream after layer 14"."""
    return IN_WORDS[hook].format(layer=layer)


def hook_briefly(layer: int, hook: Hook = RESID_POST) -> str:
    """The same in a few words, e.g. "layer 14"."""
    return BRIEFLY[hook].format(layer=layer)
