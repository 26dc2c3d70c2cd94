"""Helpers of the tests of attribution: a text, and ablation by hand."""

import torch
from fastapi.testclient import TestClient

from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE

TEXT = "the river of <script>alert(1)</script> University\ncafé 😀"
API = "/api/v1/attribution"


def sae_of(client: TestClient, name: str = "1-relu-64") -> SAE:
    return SAE.load(client.app.state.library.catalogue().saes["tiny", name].folder)


def ablated_logits(
    plain: LanguageModel, sae: SAE, feature: int | None, tokens: list[int], places: slice = slice(1, None)
) -> torch.Tensor:
    """Logits [L, V] with a feature taken out at some tokens, at all but the opening one unless told, by a hook."""

    def hook(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        if feature is None:
            return output
        changed = output.clone()
        changed[0, places] -= sae.encode(output[0, places])[:, [feature]] * sae.W_dec_FD[feature]
        return changed

    handle = plain.layers[1].register_forward_hook(hook)
    logits = plain.logits(torch.tensor([tokens]))[0]
    handle.remove()
    return logits
