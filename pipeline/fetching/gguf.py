"""Convert a GGUF file, once, to a local folder that transformers reads as it reads every other model."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.fetching.naming import write_origin
from pipeline.models.errors import ModelError
from pipeline.progress import log


def convert(file: Path, folder: Path) -> None:
    """Write model (bfloat16, dequantized) and tokenizer of a GGUF file into `folder`. Raises ModelError."""
    import torch
    import transformers

    log(f"converting {file.name} to safetensors")
    # Progress bars of transformers go to stderr, whether it is asked for them or not.
    with _reading_once(), redirect_stderr(io.StringIO()):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch.bfloat16,
                # Without this it stays packed, which is slower.
                quantization_config=transformers.GgufConfig(dequantize=True),
            )
        except Exception as error:  # transformers raises many kinds; each means that this file cannot be used
            raise ModelError(f"{file} cannot be converted ({error}): fetch it again, or give safetensors") from error
        model.save_pretrained(folder)
    fields = _fields(file)
    _restore_pre_tokenizer(tokenizer, fields.get("tokenizer.ggml.pre", "default"), file)
    tokenizer.save_pretrained(folder)
    write_origin(folder, file, quantisation(fields))


@contextmanager
def _reading_once() -> Iterator[None]:
    """Let transformers parse the file and make its table of names once; it asks for them three and 397 times.

    This takes the conversion of the sample from 24 to 10 seconds.
    """
    import gguf

    reader, names = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(reader), cache(names)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, names


def quantisation(fields: Mapping[str, Any]) -> str:
    """How a GGUF file says that its weights are quantised, e.g. Q4_1; "" when they are not."""
    import gguf

    try:
        name = gguf.LlamaFileType(fields["general.file_type"]).name.removeprefix("MOSTLY_")
    except (KeyError, ValueError):
        return ""
    return "" if name in {"ALL_F32", "F16", "BF16"} else name


def _fields(file: Path) -> dict[str, Any]:
    """Those of the file's own words on itself that are read here."""
    import gguf

    fields = gguf.GGUFReader(file).fields
    return {name: fields[name].contents() for name in ("general.file_type", "tokenizer.ggml.pre") if name in fields}


def _restore_pre_tokenizer(tokenizer: Any, name: str, file: Path) -> None:
    """Split text before merging as the original does: transformers forgets what the file says of that."""
    from tokenizers import pre_tokenizers

    if name == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif name not in {"default", "gpt-2"}:
        log(f"note: {file.name} splits text by '{name}', for which its tokenizer may have no rules after conversion")
