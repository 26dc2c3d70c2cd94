"""Places in a language model by the names that libraries give them.

This is the one place that says where SAEs can be read: all of them at the residual stream between two layers.
"""

import re

from data.errors import FormatError

POST = (
    r"blocks\.(\d+)\.hook_resid_post", r"(?:model\.)?layers\.(\d+)(?:\.output)?", r"resid_post_layer_(\d+)",
    r"(?:transformer\.)?h\.(\d+)", r"(?:gpt_neox\.)?layers\.(\d+)", r"(\d+)",
)  # fmt: skip
"""The output of layer N."""
PRE = (r"blocks\.(\d+)\.hook_resid_pre", r"resid_pre_layer_(\d+)", r"(?:model\.)?layers\.(\d+)\.input")
"""The input of layer N, which is the output of the layer before it."""


def layer_of(hook: str) -> int:
    """The layer N whose output a hook reads. Raises FormatError for another place."""
    for pattern in POST:
        if found := re.fullmatch(pattern, hook):
            return int(found[1])
    for pattern in PRE:
        if (found := re.fullmatch(pattern, hook)) and int(found[1]) > 0:
            return int(found[1]) - 1
    raise FormatError(
        f"the SAE reads '{hook}'; SAEs of the residual stream after a layer are read here (hook_resid_post, or "
        "hook_resid_pre of the layer after it), others not yet: if its configuration is wrong, give --layer"
    )


def hook_name(layer: int) -> str:
    """The name of our place in TransformerLens and SAELens."""
    return f"blocks.{layer}.hook_resid_post"


def module_name(layer: int) -> str:
    """The name of our place in sparsify: a module of the model's core, whose output is read."""
    return f"layers.{layer}"
