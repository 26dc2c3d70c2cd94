"""Exports on the Hub and back, by huggingface_hub, against a local stand-in for the Hub."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data.errors import ConfigError, FormatError
from data.layout import StorePaths
from pipeline.commands.exporting import export_to
from pipeline.commands.showing import Asked, make_show_recipe
from pipeline.fetching.hub import download
from pipeline.formats.imported import find_imported
from pipeline.formats.reading import look_at_sae
from pipeline.models.errors import ModelError
from pipeline.models.sae import SAE
from tests.support.command_line import monosema_here
from tests.support.foreign import folded
from tests.support.hub import Hub, Repository, local_hub

# huggingface_hub hands files to httpx in a way that this calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN = "hf_secretsecretsecret"
REPOSITORY = "someone/saes"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with local_hub(monkeypatch) as hub:
        hub.add_token(TOKEN, "someone", orgs=("lab",))
        yield hub


@pytest.fixture
def token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def sae_in(store: StorePaths) -> tuple[str, SAE]:
    """The name and the weights of the first published SAE."""
    from data.published.state import SAES_FOLDER, open_published

    published = open_published(store, None)
    name = published.record.saes[0].name
    return name, SAE.load(published.folder / SAES_FOLDER / name)


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("kind", ["saelens", "dictionary_learning"])
def test_what_is_pushed_is_read_by_its_id(
    hub: Hub, published_store: StorePaths, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, ours = sae_in(published_store)
    export_to(published_store, None, name, kind, tmp_path / "out", REPOSITORY)
    repository = hub.repositories[REPOSITORY]
    written = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.*")}
    assert {file: path.read_bytes() for file, path in written.items()} == repository.files
    assert repository.messages == [f"Add {name} in the format of {kind}"]
    card = repository.files["README.md"].decode()
    assert f"monosema show {REPOSITORY}/{name}" in card
    assert hub.url + "/" + REPOSITORY in capsys.readouterr().err
    assert TOKEN not in capsys.readouterr().err + "".join(hub.asked)

    store = StorePaths(tmp_path / "store")
    read = make_show_recipe(Asked(f"{REPOSITORY}/{name}", model="sample", corpus="sample", layer=1), store)
    assert read.problems == []
    folder, foreign = find_imported(read.recipe.imports.saes[0], store)
    assert folder.is_relative_to(store.saes)
    theirs = folded(foreign)
    x_ND = torch.randn(20, ours.header.width, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(theirs.encode(x_ND), ours.encode(x_ND), atol=1e-5)


@pytest.mark.usefixtures("token")
def test_a_second_push_adds_and_keeps_the_card_that_is_there(
    hub: Hub, published_store: StorePaths, tmp_path: Path
) -> None:
    hub.repositories["lab/saes"] = Repository({"README.md": b"# Mine", "other/cfg.json": b"{}"})
    name, _ = sae_in(published_store)
    export_to(published_store, None, name, "saelens", tmp_path / "out", "lab/saes")
    files = hub.repositories["lab/saes"].files
    assert files["README.md"] == b"# Mine"
    assert {"other/cfg.json", f"{name}/cfg.json", f"{name}/sae_weights.safetensors"} <= files.keys()


@pytest.mark.usefixtures("token")
def test_a_private_repository(hub: Hub, published_store: StorePaths, tmp_path: Path) -> None:
    export_to(published_store, None, None, "saelens", tmp_path / "out", REPOSITORY, private=True)
    assert hub.repositories[REPOSITORY].private
    assert len(hub.repositories[REPOSITORY].messages) == 1, "one commit for all"


@pytest.mark.parametrize(
    ("repository", "token", "message"),
    [
        (REPOSITORY, None, "--push needs a token of the Hub: set HF_TOKEN"),
        (REPOSITORY, "hf_wrong", "the Hub does not know the token of HF_TOKEN"),
        (REPOSITORY, "hf_reader", "the token of HF_TOKEN may only read"),
        ("others/saes", TOKEN, "may write to someone, lab, not to others"),
        ("saes", TOKEN, "give the account, too, as in your-name/saes"),
        ("a/b/c", TOKEN, "--push a/b/c: "),
    ],
)
def test_what_keeps_a_push_is_said_before_anything_is_written(
    hub: Hub,
    published_store: StorePaths,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    repository: str,
    token: str | None,
    message: str,
) -> None:
    hub.add_token("hf_reader", "someone", role="read")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError) as error:
        export_to(published_store, None, None, "saelens", tmp_path / "out", repository)
    assert message in str(error.value)
    assert token is None or token not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert hub.repositories == {}


@pytest.mark.usefixtures("token")
def test_a_push_that_is_refused_leaves_the_export(
    hub: Hub, published_store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "_create", lambda *_: (403, {"error": "no"}, {"X-Error-Message": "no"}))
    with pytest.raises(ConfigError, match=r"may not write to someone/saes.* It is in .*out: `hf upload someone/saes"):
        export_to(published_store, None, None, "saelens", tmp_path / "out", REPOSITORY)
    assert list((tmp_path / "out").glob("*/cfg.json"))


def show(name: str, store: StorePaths) -> None:
    make_show_recipe(Asked(name, model="sample", corpus="sample", layer=1), store)


def test_repositories_that_cannot_be_read(hub: Hub, store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["lab/gated"] = Repository({"sae/cfg.json": b"{}", "sae/sae_weights.safetensors": b"x"}, gated=True)
    hub.repositories["lab/hidden"] = Repository({"cfg.json": b"{}"}, private=True)
    hub.repositories["lab/texts"] = Repository({"README.md": b"# Texts"})
    gated = "lab/gated is gated: accept its licence at .* set HF_TOKEN"
    for name, message in {
        "lab/gated/sae": gated,
        "lab/nothing/sae": "there is no folder and no Hub model 'lab/nothing': check imports.saes",
        "lab/hidden": "no Hub model 'lab/hidden': check imports.saes.source, and set HF_TOKEN if it is private",
    }.items():
        with pytest.raises(ModelError, match=message):
            show(name, store)
    with pytest.raises(FormatError, match="lab/texts holds no SAE of a known format"):
        show("lab/texts", store)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ModelError, match=gated):
        show("lab/gated/sae", store)
    assert not any("resolve" in asked for asked in hub.asked), "nothing was fetched"
    assert not store.root.exists(), "nothing is left behind"


def test_a_revision_that_is_not_there(hub: Hub, store: StorePaths) -> None:
    hub.repositories["lab/saes"] = Repository({"cfg.json": b"{}", "sae.safetensors": b"x"})
    with pytest.raises(ModelError, match="lab/saes has no revision 'v2'"):
        make_show_recipe(Asked("lab/saes", model="sample", corpus="sample", layer=1, revision="v2"), store)


@pytest.mark.usefixtures("token")
def test_a_download_that_is_cut_off_is_said_and_goes_on(hub: Hub, published_store: StorePaths, tmp_path: Path) -> None:
    name, _ = sae_in(published_store)
    export_to(published_store, None, name, "saelens", tmp_path / "out", REPOSITORY)
    hub.cut_off = {"sae_weights.safetensors"}
    store = StorePaths(tmp_path / "store")
    with pytest.raises(ModelError, match=f"{REPOSITORY} cannot be fetched from the Hub .* resumes where it stopped"):
        show(f"{REPOSITORY}/{name}", store)
    assert not [folder for folder in store.saes.iterdir() if not folder.name.startswith(".")], "never half a folder"
    hub.cut_off = set()
    show(f"{REPOSITORY}/{name}", store)


def test_weights_that_are_cut_off_on_the_hub_are_named(hub: Hub, store: StorePaths) -> None:
    config = b'{"architecture": "standard", "d_in": 4, "d_sae": 8, "hook_name": "blocks.1.hook_resid_post"}'
    hub.repositories["lab/saes"] = Repository({"cfg.json": config, "sae_weights.safetensors": b"\x10" + bytes(20)})
    read = make_show_recipe(Asked("lab/saes", model="sample", corpus="sample"), store)
    with pytest.raises(FormatError, match=r"sae_weights.safetensors is cut off, or no safetensors file"):
        folded(find_imported(read.recipe.imports.saes[0], store)[1])  # as the trial before any work does


@pytest.mark.usefixtures("token")
def test_by_the_command_with_the_hub_s_address_in_the_environment(
    hub: Hub, published_store: StorePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["export", str(tmp_path / "out"), "--format", "saelens", "--push", REPOSITORY]
    command = [sys.executable, "-m", "pipeline.cli", *asked, "--store", str(published_store.root)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 0, made.stderr
    assert TOKEN not in made.stdout + made.stderr
    look_at_sae(next((tmp_path / "out").glob("*/cfg.json")).parent, None)
    assert len(hub.repositories[REPOSITORY].files) > 3
    monkeypatch.delenv("HF_TOKEN")
    again = monosema_here(*asked, store=published_store, status=1)
    assert again.stderr.startswith("error: --push needs a token of the Hub")
    assert len(again.stderr.splitlines()) == 1


def test_a_model_s_weights_that_are_cut_off(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["lab/model"] = Repository({"config.json": b"{}", "model.safetensors": bytes(1000)})
    hub.cut_off = {"model.safetensors"}
    with pytest.raises(ModelError, match="lab/model cannot be fetched from the Hub"):
        download("lab/model", None, tmp_path / "model")
