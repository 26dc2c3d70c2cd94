"""`monosema show`: from somebody's SAE to a published run; and what is refused before any work."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from data.artifacts.corpus import TokenizedCorpus
from data.errors import ConfigError, FormatError, PreflightError
from data.hooks import Hook
from data.layout import StorePaths
from data.published.state import open_published
from data.published.tables import PublishedRun
from pipeline.commands.showing import (
    CHATS,
    Asked,
    corpus_section,
    make_show_recipe,
    name_run,
    refuse_misfit,
    slug,
    with_chats,
)
from pipeline.corpus import open_source
from pipeline.formats import saelens
from pipeline.formats.exported import Exported
from pipeline.formats.trial import first_tokens, read_layers
from pipeline.models.language_model import LanguageModel
from pipeline.models.sae import SAE
from pipeline.models.tokenizer import Tokenizer
from pipeline.recipe import ReadRecipe
from pipeline.recipe.corpus import CorpusConfig
from pipeline.runs import run_checked
from pipeline.stages import STAGES
from tests.support.chats import TALKS, make_talking_model, write_talks
from tests.support.command_line import monosema_here
from tests.support.fakes import put_manifest
from tests.support.foreign import principal_sae
from tests.support.models import byte_tokenizer, save_tiny_model, tiny_sae
from tests.support.text_folder import make_text_folder

LAYER, DIRECTIONS, LENGTH = 1, 8, 64
# Not all rows are kept, so that examples come from the model in float32 and not from rows in bfloat16.
SETTINGS = ("model.dtype=float32", "harvest.keep_fraction=0.9", "embed.source=none", "corpus.held_out_fraction=0.2",
            "project.num_epochs=10", "score.features=8", "neurons.features=0", "examples.rare_tokens=10",
            "compare.n=4", "completeness.lists=[]", "strengths.features=2", "strengths.strengths=[1, 2]",
            "strengths.text_strengths=[1]")  # fmt: skip
IMPORT = f"[{STAGES.index('train') + 1}/{len(STAGES)}] import: done"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a model, texts, and an SAE of it in SAELens's format."""
    make_text_folder(tmp_path / "texts", 12)
    save_tiny_model(tmp_path / "llama")
    model = LanguageModel.load(tmp_path / "llama", layer=LAYER, dtype="float32")
    source = open_source(CorpusConfig(source="text", path=tmp_path / "texts"), tmp_path)
    tokens = first_tokens(source, Tokenizer(byte_tokenizer()))
    sae = principal_sae(read_layers(model, tokens, [256]).at(LAYER, 10.0), DIRECTIONS, LAYER)
    write(sae, tmp_path / "sae")
    return tmp_path


def write(sae: SAE, folder: Path, hook: Hook = "resid_post", *, bos: bool = True) -> None:
    folder.mkdir()
    density = torch.full((sae.num_features,), 0.1)
    saelens.write(Exported(sae, "org/tiny", "texts", LENGTH, bos, density, {}, hook), folder)


def show_command(place: Path, *more: str, sae: str = "sae") -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    given = ("--model", str(place / "llama"), "--corpus", str(place / "texts"), "--no-serve", "--name", "mine")
    return ["show", str(place / sae), *given, *settings, *more]


def test_an_sae_of_saelens_ends_in_a_published_run(place: Path, store: StorePaths) -> None:
    done = monosema_here(*show_command(place), store=store)
    assert "saelens, relu, 16 features of width 32" in done.stderr
    assert "it fits layer 1: explained variance" in done.stderr
    assert IMPORT in done.stderr
    assert "1-relu-16" in done.stdout
    published = open_published(store, "mine")
    assert (published.record.layer, published.record.saes[0].curve) == (LAYER, [])
    check_activations(PublishedRun(published.folder), place)
    monosema_here("doctor", "--run", "mine", store=store)
    assert "done in" not in monosema_here(*show_command(place), store=store).stderr
    monosema_here("export", str(place / "out"), "--format", "saelens", store=store)
    folders = (place / "sae", place / "out/1-relu-16")
    before, after = (load_file(folder / "sae_weights.safetensors") for folder in folders)
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    sparsity = load_file(place / "out/1-relu-16/sparsity.safetensors")["sparsity"]
    features = PublishedRun(published.folder).take("features", range(16), ["density"])["density"].to_numpy()
    assert np.allclose(10 ** sparsity.numpy(), features, atol=1e-6)
    assert "| Features | 16 |" in (place / "out/1-relu-16/README.md").read_text()


def check_activations(run: PublishedRun, place: Path) -> None:
    """Published activations of top examples equal SAELens's own formula on the model's residual stream, to 1e-4."""
    weights = {name: one.double() for name, one in load_file(place / "sae/sae_weights.safetensors").items()}
    model = LanguageModel.load(place / "llama", layer=LAYER, dtype="float32", fused=False)
    features = run.take("features", range(16), ["first_example"])["first_example"].to_pylist()
    columns = ["document", "position", "activation"]
    for index, example in enumerate(run.take("examples", features, columns).to_pylist()):
        start = example["position"] // (LENGTH - 1) * (LENGTH - 1)
        tokens = run.windows([example["document"]], [start], [example["position"] - start + 1])[0]
        x_D = model.residuals(torch.tensor([[256, *tokens]]))[0, -1].double()
        expected = (x_D @ weights["W_enc"][:, index] + weights["b_enc"][index]).relu()
        assert example["activation"] == pytest.approx(float(expected), abs=1e-4, rel=0)


def test_an_sae_of_a_gpt2s_mlp_without_bos_is_read_so(place: Path, store: StorePaths) -> None:
    """Steered, attributed, measured, all of it, at what that MLP adds to the stream."""
    torch.manual_seed(0)
    config = GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=256, vocab_size=300, initializer_range=0.3,
                        bos_token_id=256, eos_token_id=257)  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(place / "gpt2")
    byte_tokenizer().save_pretrained(place / "gpt2")
    model = LanguageModel.load(place / "gpt2", layer=LAYER, hook="mlp", dtype="float32")
    source = open_source(CorpusConfig(source="text", path=place / "texts"), place)
    rows = read_layers(model, first_tokens(source, Tokenizer(byte_tokenizer())), [])
    write(principal_sae(rows.at(LAYER, 10.0), DIRECTIONS, LAYER), place / "mlp", "mlp", bos=False)
    done = monosema_here(*show_command(place, "--model", str(place / "gpt2"), sae="mlp"), store=store)
    assert "it fits mlp of layer 1: explained variance" in done.stderr
    published = open_published(store, "mine")
    counts = published.record.corpus["tokenize"]
    assert (published.hook, counts["bos_id"], published.record.saes[0].name) == ("mlp", None, "1-mlp-relu-16")
    monosema_here("doctor", "--run", "mine", store=store)
    monosema_here("export", str(place / "out"), "--format", "saelens", store=store)
    before, after = (
        json.loads((place / one / "cfg.json").read_text())["metadata"] for one in ("mlp", "out/1-mlp-relu-16")
    )
    assert after["hook_name"] == before["hook_name"] == "blocks.1.hook_mlp_out"
    assert after["prepend_bos"] is before["prepend_bos"] is False


def test_a_first_dashboard_measures_little_and_a_full_one_all(place: Path, store: StorePaths) -> None:
    asked = Asked(str(place / "sae"), "sample", "sample", overrides=("score.features=5",))
    first = make_show_recipe(asked, store).recipe
    assert (first.respond.candidates, first.effects.features, first.embed.source) == (0, 0, "none")
    assert (first.score.features, first.completeness.lists) == (5, ())
    full = make_show_recipe(replace(asked, full=True, overrides=()), store).recipe
    assert (full.respond.candidates, full.score.features, full.embed.source) == (512, 36, "sample-minilm")
    assert make_show_recipe(replace(asked, overrides=()), store).recipe.score.features == 0


@pytest.mark.parametrize("kind", ["width", "misfit", "none", "layer"])
def test_what_does_not_fit_is_refused_before_any_work(place: Path, store: StorePaths, kind: str) -> None:
    more: tuple[str, ...] = ()
    if kind == "width":
        write(principal_sae(torch.randn(50, 16, generator=torch.Generator().manual_seed(0)), 4), place / "other")
        said = "reads activations of width 16, the model's residual stream has 32"
    elif kind == "misfit":
        write(tiny_sae(), place / "other")
        said = "does not fit layer 1"
    elif kind == "none":
        (place / "other").mkdir()
        said = "holds no SAE of a known format"
    else:
        write(tiny_sae(), place / "other")
        more, said = ("--layer", "7"), "model.layer=7 is out of range"
    done = monosema_here(*show_command(place, *more, sae="other"), store=store, status=1)
    assert said in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert not (store.root / "runs").exists()


def test_the_configuration_gives_what_is_not_asked_for(place: Path, store: StorePaths) -> None:
    file = place / "sae/cfg.json"
    config = json.loads(file.read_text())
    recipe = make_show_recipe(Asked(str(place / "sae"), corpus="sample"), store).recipe
    assert (recipe.model.source, recipe.model.layer, recipe.tokenize.context_length) == ("org/tiny", LAYER, LENGTH)
    asked = Asked(str(place / "sae"), "sample", "org/texts", layer=3, context_length=32, overrides=("seed=7",))
    recipe = make_show_recipe(asked, store).recipe
    assert (recipe.model.name, recipe.model.layer, recipe.seed) == ("smollm2-135m", 3, 7)
    assert (recipe.tokenize.context_length, recipe.corpus.dataset) == (32, "org/texts")
    assert (recipe.model.hook, recipe.tokenize.opening) == ("resid_post", "bos")
    config["metadata"] |= {"hook_name": "blocks.1.hook_mlp_out", "prepend_bos": False}
    file.write_text(json.dumps(config))
    recipe = make_show_recipe(Asked(str(place / "sae"), corpus="sample"), store).recipe
    assert (recipe.model.layer, recipe.model.hook, recipe.tokenize.opening) == (1, "mlp", "none")
    asked = Asked(str(place / "sae"), corpus="sample", hook="attn", overrides=("tokenize.opening=bos",))
    recipe = make_show_recipe(asked, store).recipe
    assert (recipe.model.layer, recipe.model.hook, recipe.tokenize.opening) == (1, "attn", "bos")
    with pytest.raises(ConfigError, match="no hook 'nose': use one of resid_pre"):
        make_show_recipe(Asked(str(place / "sae"), corpus="sample", hook="nose"), store)
    config["metadata"] |= {"model_name": "gpt2-small", "hook_name": "blocks.1.attn.hook_z"}
    file.write_text(json.dumps(config))
    with pytest.raises(FormatError, match=r"calls its model 'gpt2-small', which is no Hub id: give .*--model"):
        make_show_recipe(Asked(str(place / "sae"), corpus="sample"), store)
    with pytest.raises(FormatError, match=r"hook_z'; SAEs of the residual stream .* give --layer and --hook"):
        make_show_recipe(Asked(str(place / "sae"), "sample", "sample"), store)
    recipe = make_show_recipe(Asked(str(place / "sae"), "sample", "sample", layer=2, hook="mlp"), store).recipe
    assert (recipe.model.layer, recipe.model.hook) == (2, "mlp")
    with pytest.raises(ConfigError, match="no format 'pickle'"):
        make_show_recipe(Asked(str(place / "sae"), "sample", "sample", format="pickle"), store)


@pytest.mark.parametrize(
    ("place", "sae", "name"),
    [
        ("gpt2-6", "org/saes/width_16k/average_l0_71", "gpt2-6-saes-width_16k-average_l0_71"),
        ("gpt2-6", "org/saes/width_65k/average_l0_71", "gpt2-6-saes-width_65k-average_l0_71"),
        ("gpt2-6", "org/saes", "gpt2-6-org-saes"),
        ("gpt2-6", "/mnt/big/run_a/trainer_0", "gpt2-6-run_a-trainer_0"),
        ("gpt2-6", "/mnt/big/run_b/trainer_0/", "gpt2-6-run_b-trainer_0"),
        ("gpt2-6", "./sae16k", "gpt2-6-sae16k"),
        (
            "gemma-2-2b-20",
            "google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71",
            "gemma-2-2b-20-scope-2b-pt-res-layer_20-width_16k-average_l0_71",
        ),
        ("m" * 64 + "-3", "org/saes/trainer_0", "m" * 54 + "-trainer_0"),
        ("gpt2-6", "x" * 100, "x" * 64),
    ],
)
def test_runs_are_named_by_what_tells_saes_apart(place: str, sae: str, name: str) -> None:
    assert name_run(place, sae) == name
    assert len(name) <= 64


def test_another_saes_run_is_not_replaced(place: Path, store: StorePaths) -> None:
    asked = Asked(str(place / "sae"), "sample", "sample")
    name = make_show_recipe(asked, store).recipe.name
    kept = {"source": str((place / "sae").resolve()), "folder": ""}
    put_manifest(store.run(name), "train", {}, {"imports": [kept]})
    assert make_show_recipe(asked, store).recipe.name == name
    shutil.copytree(place / "sae", place / "elsewhere" / place.name / "sae")
    other = replace(asked, sae=str(place / "elsewhere" / place.name / "sae"))
    with pytest.raises(
        ConfigError, match=rf"a run '{name}' of .*/sae, which this one would replace: give another --name"
    ):
        make_show_recipe(other, store)
    assert make_show_recipe(replace(other, name="other"), store).recipe.name == "other"
    put_manifest(store.run("mine"), "train", {})
    with pytest.raises(ConfigError, match="a run 'mine' of autoencoders that were trained here"):
        make_show_recipe(replace(asked, name="mine"), store)


def test_another_revisions_run_is_not_replaced(place: Path, store: StorePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.commands.showing.ensure_sae", lambda config, store: place / "sae")
    asked = Asked("org/sae", "sample", "sample", revision="a")
    recipe = make_show_recipe(asked, store).recipe
    kept = [one.model_dump(mode="json") for one in recipe.imports.saes]
    put_manifest(store.run(recipe.name), "train", {}, {"imports": kept})
    assert make_show_recipe(asked, store).recipe == recipe
    for revision in ("b", None):
        with pytest.raises(ConfigError, match=r"of org/sae \(revision a\), which this one .*: give another --name"):
            make_show_recipe(replace(asked, revision=revision), store)
    assert make_show_recipe(replace(asked, revision="b", name="other"), store).recipe.name == "other"


def test_corpora_are_told_by_their_files(place: Path) -> None:
    assert corpus_section("sample") == {"source": "sample"}
    assert corpus_section(str(place / "texts"))["source"] == "text"
    (place / "data.jsonl").write_text('{"text": "a"}\n')
    assert corpus_section(str(place / "data.jsonl"))["source"] == "jsonl"
    assert corpus_section("org/texts") == {"source": "huggingface", "dataset": "org/texts"}
    with pytest.raises(ConfigError, match="there is no"):
        corpus_section("./nowhere")
    (place / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no text"):
        corpus_section(str(place / "empty"))


@pytest.fixture
def talking(tmp_path: Path) -> Path:
    """A folder with a chat model, conversations, and an SAE of the model."""
    make_talking_model(tmp_path / "llama")
    corpus = CorpusConfig(source="jsonl", path=write_talks(tmp_path / "talks.jsonl"), turns="all")
    model = LanguageModel.load(tmp_path / "llama", layer=LAYER, dtype="float32")
    tokenizer = Tokenizer.load(tmp_path / "llama")
    tokens = first_tokens(open_source(corpus, tmp_path), tokenizer)
    write(
        principal_sae(read_layers(model, tokens, tokenizer.opening).at(LAYER, 10.0), DIRECTIONS, LAYER),
        tmp_path / "sae",
    )
    return tmp_path


def read_talks(talking: Path, store: StorePaths, corpus: str = "talks.jsonl", *overrides: str) -> ReadRecipe:
    settings = (*SETTINGS, *overrides)
    asked = Asked(str(talking / "sae"), str(talking / "llama"), str(talking / corpus), overrides=settings)
    return with_chats(make_show_recipe(asked, store), store)


def test_conversations_are_told_by_their_records(
    talking: Path, store: StorePaths, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [{"messages": talk, "text": "plain"} for talk in TALKS]
    datasets.Dataset.from_list(records).save_to_disk(str(talking / "saved"))
    pq.write_table(pa.Table.from_pylist([{"conversations": talk} for talk in TALKS]), talking / "talks.parquet")
    for corpus in ("talks.jsonl", "saved", "talks.parquet"):
        assert read_talks(talking, store, corpus).recipe.corpus.turns == "all"
        assert capsys.readouterr().err.count(CHATS) == 1
    assert read_talks(talking, store, "saved", "corpus.text_field=text").recipe.corpus.turns is None
    assert read_talks(talking, store, "saved", "corpus.turns=user").recipe.corpus.turns == "user"
    (talking / "texts.jsonl").write_text('{"text": "a", "conversation": "none"}\n')
    assert read_talks(talking, store, "texts.jsonl").recipe.corpus.turns is None
    (talking / "broken.jsonl").write_text("{")
    assert read_talks(talking, store, "broken.jsonl").recipe.corpus.turns is None
    assert CHATS not in capsys.readouterr().err


def test_conversations_are_read_without_more_flags_or_refused(talking: Path, store: StorePaths) -> None:
    read = read_talks(talking, store)
    paths = store.run(read.recipe.name)
    run_checked(read, paths, "tokenize", trial=lambda: refuse_misfit(read.recipe, store, anyway=False))
    assert TokenizedCorpus(paths.stage("tokenize")).roles is not None
    (talking / "llama/chat_template.jinja").unlink()
    with pytest.raises(
        PreflightError, match=r"has no chat template to read them by: give a chat model .*corpus.text_field"
    ):
        run_checked(read, StorePaths(talking / "other").run(read.recipe.name))


def test_slugs() -> None:
    assert slug("blocks.3.hook_resid_post") == "blocks.3.hook_resid_post"
    assert slug("Meta Llama/3") == "meta-llama-3"
    assert slug("?!") == "sae"
