"""EleutherAI's delphi, where it is installed, without the heavy packages that its scorers do not use.

pip install --no-deps --target DIR eai-delphi
PYTHONPATH=DIR python -m pytest tests/pipeline/scores/test_delphi.py
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

INSTALL = "delphi is not installed: pip install --no-deps --target DIR eai-delphi, and put DIR on PYTHONPATH"
UNUSED = (
    "aiofiles", "asyncer", "beartype", "bitsandbytes", "blobfile", "faiss", "fire", "flask", "jaxtyping", "orjson",
    "sentence_transformers", "simple_parsing", "sparsify", "tiktoken", "vllm",
)  # fmt: skip
"""Packages that delphi imports and its classifiers do not run."""


def is_installed() -> bool:
    return importlib.util.find_spec("delphi") is not None


class _Empty(ModuleType):
    """A module in which every name is an empty class."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        anything = {"__init__": lambda self, *given, **named: None}
        return type(name, (), {**anything, "__class_getitem__": classmethod(lambda cls, item: cls)})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        found = name.partition(".")[0] in UNUSED
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if found else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def import_delphi() -> None:
    """Make delphi's modules importable: packages that are not installed are empty."""
    sys.meta_path.append(_Finder())
