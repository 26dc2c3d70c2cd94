"""SAEs that SAELens knows by release and id: through SAELens where it is installed, else it is said how to have it."""

import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from data.errors import FormatError
from data.layout import StorePaths
from pipeline.formats import registry, saelens
from pipeline.formats.exported import Exported
from pipeline.formats.places import ensure_sae, split_source
from pipeline.formats.reading import look_at_sae
from pipeline.recipe.imports import ImportedSAE
from tests.support.foreign import agree, folded, random_tensor
from tests.support.libraries import run_script
from tests.support.models import WIDTH, tiny_sae

SOURCE = "saelens:some-release/layer_3/width_1k"
ROOT = Path(__file__).parents[3]


def imported(source: str, revision: str | None = None) -> ImportedSAE:
    source, folder = split_source(source)
    return ImportedSAE(source=source, folder=folder, revision=revision, architecture="relu", num_features=24)


def test_a_release_and_an_id_are_told_apart() -> None:
    assert split_source(SOURCE) == ("saelens:some-release", "layer_3/width_1k")
    assert registry.release_of("saelens:some-release") == "some-release"
    assert registry.release_of("org/saes") is None
    for source in ("saelens:", "saelens:some-release", "saelens:/id"):
        with pytest.raises(FormatError, match="names no SAE: write saelens:RELEASE/ID"):
            split_source(source)


def test_what_saelens_saves_is_kept_in_the_store(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[str, str]]()

    def save(release: str, sae_id: str, folder: Path) -> None:
        asked.append((release, sae_id))
        folder.mkdir(parents=True)
        saelens.write(Exported(tiny_sae(), "org/model", "texts", 64, True, tiny_sae().threshold_F, {}), folder)

    monkeypatch.setattr(registry, "save_pretrained", save)
    monkeypatch.setattr(registry, "require_saelens", lambda: None)
    found = ensure_sae(imported(SOURCE), store)
    assert look_at_sae(found).num_features == 24
    assert ensure_sae(imported(SOURCE), store) == found
    assert asked == [("some-release", "layer_3/width_1k")]


def test_without_saelens_it_is_said_how_to_have_it(store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(FormatError, match=r'SAELens, which is not installed here .*pip install "monosema\[saelens\]"'):
        ensure_sae(imported(SOURCE), store)
    assert not store.saes.exists()


@pytest.mark.parametrize(("source", "revision"), [(SOURCE, "main"), ("saelens:some-release/../up", None)])
def test_what_saelens_cannot_know_is_refused(store: StorePaths, source: str, revision: str | None) -> None:
    with pytest.raises(FormatError, match="knows releases and ids alone"):
        ensure_sae(imported(source, revision), store)


def test_an_sae_of_its_list_is_read_as_saelens_reads_it(tmp_path: Path) -> None:
    """By the installed sae-lens, with a stand-in for the Hub."""
    x_ND, folder, out = random_tensor(64, WIDTH, seed=9), tmp_path / "sae", tmp_path / "out.safetensors"
    save_file({"x": x_ND}, tmp_path / "x.safetensors")
    run_script("library_registry", "saelens", ROOT, folder, tmp_path / "x.safetensors", out)
    theirs, found = load_file(out), look_at_sae(folder)
    assert (found.format, found.num_features) == ("saelens", 48)
    assert (found.provenance.model, found.provenance.hook) == ("google/gemma-2b", "blocks.8.hook_resid_pre")
    agree(folded(found), x_ND, theirs["acts"].double() * theirs["norms"], theirs["decoded"].double())
    refused = out.with_suffix(".txt").read_text()
    assert refused.startswith("FormatError: SAELens cannot load 'blocks.99.hook_resid_pre' of release")
    assert "Valid IDs are" in refused
