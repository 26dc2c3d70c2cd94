"""Places in a language model by the names that libraries give them.

This is the one place that says which of them are read here, and which hook of ours (data/hooks.py) each is.
"""

import re

from data.errors import FormatError
from data.hooks import HOOKS, RESID_POST, Hook, Place, hook_address

LAYERS = r"(?:model\.|transformer\.|gpt_neox\.)?(?:layers|h)"
"""The list of layers in models of transformers."""
NAMES: dict[Hook, tuple[str, ...]] = {
    "resid_pre": (r"blocks\.(\d+)\.hook_resid_pre", r"resid_pre_layer_(\d+)", rf"{LAYERS}\.(\d+)\.input"),
    "resid_mid": (r"blocks\.(\d+)\.hook_resid_mid", r"resid_mid_layer_(\d+)"),
    "resid_post": (r"blocks\.(\d+)\.hook_resid_post", r"resid_post_layer_(\d+)", rf"{LAYERS}\.(\d+)(?:\.output)?"),
    "attn": (r"blocks\.(\d+)\.hook_attn_out", r"attn_out_layer_(\d+)"),
    "mlp": (
        r"blocks\.(\d+)\.hook_mlp_out", r"mlp_out_layer_(\d+)", rf"{LAYERS}\.(\d+)\.post_feedforward_layernorm\.output",
    ),
}  # fmt: skip
"""Beside `hook_address`, which is our own."""
MODULES: dict[Hook, str] = {
    "attn": rf"{LAYERS}\.(\d+)\.(?:self_attn|attn|attention)(?:\.output)?",
    "mlp": rf"{LAYERS}\.(\d+)\.mlp(?:\.output)?",
}
"""Modules whose output is what a layer adds to the stream, unless a norm stands behind them."""
TRANSFORMER_LENS: dict[Hook, str] = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn": "hook_attn_out",
    "mlp": "hook_mlp_out",
}


def place_of(name: str) -> Place:
    """The place that a library names so. Raises FormatError where none of ours is it."""
    for hook in HOOKS:
        own = hook_address(0, hook).replace("0", r"(\d+)", 1)
        for pattern in (own, *NAMES[hook], MODULES.get(hook, own)):
            if found := re.fullmatch(pattern, name):
                return Place(int(found[1]), hook)
    raise FormatError(
        f"the SAE reads '{name}'; SAEs of the residual stream before, within or after a layer are read here, and of "
        "what its attention or its MLP adds to it (hook_resid_pre, hook_resid_mid, hook_resid_post, hook_attn_out, "
        "hook_mlp_out), others not yet: if its configuration is wrong, give --layer and --hook"
    )


def is_module(name: str) -> bool:
    """Whether a place is named by a module, whose output is read as it is."""
    return any(re.fullmatch(pattern, name) for pattern in MODULES.values())


def hook_name(layer: int, hook: Hook) -> str:
    """The name of our place in TransformerLens and SAELens."""
    return f"blocks.{layer}.{TRANSFORMER_LENS[hook]}"


def submodule_name(layer: int, hook: Hook) -> str:
    """The name of our place in dictionary_learning."""
    return f"{TRANSFORMER_LENS[hook].removeprefix('hook_')}_layer_{layer}"


def module_name(layer: int, hook: Hook) -> str:
    """The name of our place in sparsify: a module of the model's core, whose output is read, as Llama has it.

    Raises FormatError where no module has such an output.
    """
    if hook == RESID_POST or (hook == "resid_pre" and layer):
        return f"layers.{layer if hook == RESID_POST else layer - 1}"
    if hook in ("attn", "mlp"):
        return f"layers.{layer}.{'mlp' if hook == 'mlp' else 'self_attn'}"
    raise FormatError(
        f"sparsify names a place by the module whose output is read, and {hook} of layer {layer} is none's: use saelens"
    )
