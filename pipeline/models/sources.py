"""What transformers' own code for a model builds, read from its source: importing that takes seconds, this does not."""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

DECODERS = "only decoder-only models work (Llama, Mistral, Qwen, Gemma, Phi-3, OLMo, GPT-2, Pythia and others built so)"
MAPPING = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
"""Of transformers: from the type of a model to the class that writes text with it."""


class Built(NamedTuple):
    """What is known of a model's class."""

    name: str
    """"" where transformers has no class for it."""
    missing: str
    """What it does not build of what it is read by; "" where it builds all, or its source does not tell."""


def read_build(model_type: str) -> Built:
    """The class by which transformers would read a model of this type."""
    name = _classes().get(model_type, "")
    whole = _attributes(model_type, name)
    if whole is None:
        return Built(name, "")
    cores = [core for made in whole.values() if (core := _attributes(model_type, made)) is not None]
    if cores and not any("ModuleList" in core.values() for core in cores):
        return Built(name, "list of layers in its core")
    has_head = "lm_head" in whole or "Linear" in whole.values()
    return Built(name, "" if has_head else "unembedding (`lm_head`)")


def built_otherwise(name: str, missing: str) -> str:
    """A class that lacks a part, as a sentence that says what works."""
    return f"{name} has no {missing}: {DECODERS}"


@cache
def _classes() -> dict[str, str]:
    for node in _parse(_models() / "auto" / "modeling_auto.py").body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == MAPPING:
            assert isinstance(node, ast.Assign)
            assert isinstance(node.value, ast.Call)
            return dict(ast.literal_eval(node.value.args[0]))
    return {}


def _attributes(model_type: str, name: str) -> dict[str, str] | None:
    """Attributes that a class gives itself, each with the class that makes it; None where the source does not tell."""
    if not name:
        return None
    module = model_type.replace("-", "_")
    file = _models() / module / f"modeling_{module}.py"
    if not file.is_file():
        return None
    found = next((one for one in _parse(file).body if isinstance(one, ast.ClassDef) and one.name == name), None)
    methods = {one.name: one for one in found.body if isinstance(one, ast.FunctionDef)} if found else {}
    if "__init__" not in methods:
        return None
    return {**dict.fromkeys(methods, ""), **_assigned(methods["__init__"])}


def _assigned(function: ast.FunctionDef) -> dict[str, str]:
    """Names that a function sets on `self`, each with the name of what it calls for that."""
    names = {}
    for node in ast.walk(function):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                call = node.value if isinstance(node, ast.Assign) else None
                made = call.func if isinstance(call, ast.Call) else None
                names[target.attr] = _last_name(made)
    return names


def _last_name(made: ast.expr | None) -> str:
    """`GPT2Model` of a call of it, `ModuleList` of one of `nn.ModuleList`."""
    return made.id if isinstance(made, ast.Name) else made.attr if isinstance(made, ast.Attribute) else ""


@cache
def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])


@cache
def _models() -> Path:
    """The folder of the models of transformers, which is not imported for it."""
    found = importlib.util.find_spec("transformers")
    assert found is not None, "it is installed with the pipeline"
    assert found.origin is not None
    return Path(found.origin).parent / "models"
