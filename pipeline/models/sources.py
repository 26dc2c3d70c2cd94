"""What transformers' own code for a model builds, read from its source: importing that takes seconds, this does not."""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

REQUIRED = ("model.embed_tokens", "model.layers", "model.norm", "lm_head")
"""Attributes of a transformers model by which it is read here."""
MAPPING = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
"""Of transformers: from the type of a model to the class that writes text with it."""


class Built(NamedTuple):
    """What is known of a model's class."""

    name: str
    """"" where transformers has no class for it."""
    missing: str
    """The first of REQUIRED that it does not build; "" where it builds them all, or its source does not tell."""


def read_build(model_type: str) -> Built:
    """The class by which transformers would read a model of this type."""
    name = _classes().get(model_type, "")
    whole = _attributes(model_type, name)
    if whole is None:
        return Built(name, "")
    core = _attributes(model_type, whole.get("model", ""))
    for path in REQUIRED:
        outer, _, inner = path.partition(".")
        if outer not in whole or (inner and core is not None and inner not in core):
            return Built(name, path)
    return Built(name, "")


def built_otherwise(name: str, path: str) -> str:
    """What is wrong with a class that has no attribute `path`."""
    return (
        f"{name} has no `{path}`: only decoder-only models with {', '.join(REQUIRED)} work; give one that is built as "
        "Llama is (Llama, Mistral, Qwen, Gemma, SmolLM and others)"
    )


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
                names[target.attr] = made.id if isinstance(made, ast.Name) else ""
    return names


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
