"""The recipe: everything that decides a run, as typed sections with a unit and a range for every field.

A recipe is a TOML file. `load_recipe` reads one of ours by name (`sample`), or any file by path, applies
`section.field=value` overrides, and fails with one clear message on an unknown name or a value out of range.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from data.errors import ConfigError
from pipeline.recipe.corpus import CorpusConfig as CorpusConfig
from pipeline.recipe.influence import EffectsConfig, RespondConfig
from pipeline.recipe.section import Fraction, Positive, Section, Slug

RECIPES = Path(__file__).parents[1] / "recipes"

SAMPLE_ENCODER, NO_ENCODER = "sample-minilm", "none"
"""Values of `embed.source` beside folders and Hub ids."""


class ModelConfig(Section):
    """The language model and the layer that is read."""

    name: Slug
    """Its name in addresses, e.g. smollm2-135m."""
    source: str
    """"sample", a Hugging Face Hub id, or a local folder with safetensors and a tokenizer."""
    revision: str | None = None
    layer: Annotated[int, Field(ge=0)]
    """Layer N means the output of `model.layers[N]`, N from 0."""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    device: str = "cpu"
    """"cpu", "cuda" or "cuda:N". Never chosen for you."""


class TokenizeConfig(Section):
    """Tokenization: how documents become sequences."""

    context_length: Annotated[int, Field(ge=8)] = 2048
    """Longest sequence that the model reads, BOS included. Longer documents are split."""
    max_tokens: Positive | None = None
    """Stop after the document with which the training documents reach this many tokens; None reads all."""
    max_held_out_tokens: Positive | None = None
    """The same for held-out documents."""


class HarvestConfig(Section):
    """Harvest: how activations are captured and stored."""

    keep_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the tokens, chosen at random, whose activations are stored. Tokens are kept of all."""
    storage: Literal["bfloat16", "int8"] = "bfloat16"
    num_shards: Positive = 16
    batch_tokens: Positive = 2048
    """Tokens in one forward pass, padding included."""
    sink_factor: Annotated[float, Field(gt=1)] = 10.0
    """A token whose norm is more than this many times the median is an attention sink, and left out."""


class SAEConfig(Section):
    """One sparse autoencoder."""

    architecture: Literal["relu", "topk", "batchtopk"]
    num_features: Annotated[int, Field(ge=2)]
    k: Positive | None = None
    """topk and batchtopk: active features per token (batchtopk: on average)."""
    l1_coefficient: Annotated[float, Field(ge=0)] = 5.0
    """relu: lambda of the design."""
    auxiliary_coefficient: Annotated[float, Field(ge=0)] = 1 / 32
    """topk and batchtopk: weight of the auxiliary loss that revives dead features."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3

    @model_validator(mode="after")
    def _check_k(self) -> Self:
        if self.architecture != "relu" and (self.k is None or self.k >= self.num_features):
            raise ValueError(f"architecture '{self.architecture}' needs k, below num_features")
        if self.architecture == "relu" and self.k is not None:
            raise ValueError("architecture 'relu' takes no k")
        return self


class TrainConfig(Section):
    """Training of the autoencoders, all from one reading of the shards."""

    saes: Annotated[tuple[SAEConfig, ...], Field(min_length=1)]
    batch_size: Positive = 4096
    """Tokens in one step."""
    epochs: Positive = 1
    """Readings of all activations, each in an order of its own."""
    warmup_fraction: Fraction = 0.05
    """Share of the steps over which the L1 coefficient rises linearly from 0."""
    decay_fraction: Fraction = 0.2
    """Share of the steps, at the end, over which the learning rate falls linearly to 0."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0


class EvaluateConfig(Section):
    """Metrics on held-out documents."""

    max_cross_entropy_tokens: Positive = 20_000
    """Held-out tokens on which cross-entropy is measured, of random documents; the other metrics use all. Intervals
    are by document: a budget of at least six usual documents makes them useful."""


class ExamplesConfig(Section):
    """Examples that every feature keeps."""

    top: Positive = 20
    bottom: Positive = 20
    contrast: Positive = 20
    bands: Positive = 5
    per_band: Positive = 5
    context: Positive = 40
    """Tokens kept on either side."""
    contrast_occurrences: Positive = 64
    """Occurrences of each token, chosen at random, among which contrast examples are sought."""
    max_tokens: Positive | None = None
    """Stop after this many tokens; None reads every training document. Shown wherever examples are."""
    rare_tokens: Positive = 100
    """A feature that is active on fewer tokens than this, of those counted, is rare: too little is seen of it to tell
    what it is about. A number and not a share, whatever the corpus's size: docs/method.md says why."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision in which tokens that may be active are sought. Every activation is then computed in float32."""


class ExplainConfig(Section):
    """Labels of features."""

    promoted: Positive = 10
    """Most promoted and most suppressed tokens kept."""


class EmbedConfig(Section):
    """Search by meaning: a sentence encoder reads every live feature's label and strongest examples."""

    source: str = NO_ENCODER
    """"sample-minilm" (all-MiniLM-L6-v2, 83 MB to fetch), a Hugging Face Hub id, or a local folder with an encoder of
    its kind; "none" turns search by meaning off and fetches nothing."""
    revision: str | None = None


class NeighboursConfig(Section):
    """Nearest features by decoder cosine."""

    k: Annotated[int, Field(ge=1, le=100)] = 100


class ProjectConfig(Section):
    """The joint map."""

    num_neighbours: Annotated[int, Field(ge=2)] = 15
    min_dist: Annotated[float, Field(ge=0)] = 0.1
    num_epochs: Positive = 200


class Recipe(Section):
    """Everything that decides a run."""

    name: Slug
    """Names the run and its folder."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    corpus: CorpusConfig
    model: ModelConfig
    tokenize: TokenizeConfig = TokenizeConfig()
    harvest: HarvestConfig = HarvestConfig()
    train: TrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    examples: ExamplesConfig = ExamplesConfig()
    explain: ExplainConfig = ExplainConfig()
    respond: RespondConfig = RespondConfig()
    effects: EffectsConfig = EffectsConfig()
    embed: EmbedConfig = EmbedConfig()
    neighbours: NeighboursConfig = NeighboursConfig()
    project: ProjectConfig = ProjectConfig()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [self.sae_name(sae) for sae in self.train.saes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two autoencoders of the same architecture and size: {', '.join(twice)}")
        return self

    def sae_name(self, sae: SAEConfig) -> str:
        """The autoencoder's name in folders and addresses, e.g. 14-relu-4096."""
        return f"{self.model.layer}-{sae.architecture}-{sae.num_features}"

    @property
    def sae_names(self) -> list[str]:
        """Names of all autoencoders in the order of the recipe."""
        return [self.sae_name(sae) for sae in self.train.saes]


def recipe_names() -> list[str]:
    """Recipes that come with the code."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of ours by name, or any TOML file by path, with `section.field=value` overrides applied.

    Raises ConfigError, with what to do, for an unknown recipe, field or value.
    """
    path = RECIPES / f"{name}.toml" if name in recipe_names() else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise ConfigError(
            f"there is no recipe '{name}': use one of {', '.join(recipe_names())}, or the path of a .toml"
        )
    try:
        raw = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for override in overrides:
        _apply(raw, override)
    return make_recipe(raw)


def make_recipe(raw: dict[str, Any]) -> Recipe:
    """Validate a plain dictionary. Raises ConfigError that names every wrong field."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']}" for e in error.errors()]
        raise ConfigError("the recipe is not valid:\n" + "\n".join(lines)) from None


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set `section.field=value`; the value is read as TOML, or as a plain string when it is none."""
    name, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"'{override}' is not section.field=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, field = name.strip().split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"'{override}': {section} is not a section of the recipe")
    raw[field] = value
