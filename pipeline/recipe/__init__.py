"""The recipe: everything that decides a run, as typed sections with a unit and a range for every field.

A recipe is a TOML file. `load_recipe` reads one of ours by name (`sample`), or any file by path, applies
`section.field=value` overrides, and fails with one clear message on an unknown name or a value out of range.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import Field, model_validator

from data.errors import ConfigError
from data.hooks import Place
from pipeline.recipe.comparing import CompareConfig
from pipeline.recipe.completeness import CompletenessConfig
from pipeline.recipe.corpus import CorpusConfig as CorpusConfig
from pipeline.recipe.imports import ImportedSAE, ImportsConfig
from pipeline.recipe.influence import EffectsConfig, RespondConfig, StrengthsConfig
from pipeline.recipe.judging import ScoreConfig
from pipeline.recipe.mistakes import read_what_can_be
from pipeline.recipe.model import ModelConfig as ModelConfig
from pipeline.recipe.neurons import NeuronsConfig
from pipeline.recipe.overrides import apply_override
from pipeline.recipe.scaling import ScaleConfig
from pipeline.recipe.section import LONGEST_NAME, Positive, Section, Slug
from pipeline.recipe.training import SAEConfig, TrainConfig

S = TypeVar("S", SAEConfig, ImportedSAE)
RECIPES = Path(__file__).parents[1] / "recipes"

SAMPLE_ENCODER, NO_ENCODER = "sample-minilm", "none"
"""Values of `embed.source` beside folders and Hub ids."""


OpenedBy = Literal["bos", "template", "none"]


class TokenizeConfig(Section):
    """Tokenization: how documents become sequences."""

    context_length: Annotated[int, Field(ge=8)] = 2048
    """Longest sequence that the model reads, BOS included. Longer documents are split."""
    max_tokens: Positive | None = None
    """Stop after the document with which the training documents reach this many tokens; None reads all."""
    max_held_out_tokens: Positive | None = None
    """The same for held-out documents."""
    opening: Annotated[OpenedBy, Field(exclude_if=lambda opening: opening == "bos")] = "bos"
    """What the model reads before every text: "bos" (that of the tokenizer, where it has one), "template" (what the
    tokenizer puts there by itself: nothing for GPT-2 and Pythia, which have a BOS all the same), or "none"."""


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
    train: TrainConfig = TrainConfig()
    imports: ImportsConfig = ImportsConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    examples: ExamplesConfig = ExamplesConfig()
    explain: ExplainConfig = ExplainConfig()
    respond: RespondConfig = RespondConfig()
    effects: EffectsConfig = EffectsConfig()
    neurons: NeuronsConfig = NeuronsConfig()
    embed: EmbedConfig = EmbedConfig()
    score: ScoreConfig = ScoreConfig()
    compare: CompareConfig = CompareConfig()
    completeness: CompletenessConfig = CompletenessConfig()
    strengths: StrengthsConfig = StrengthsConfig()
    neighbours: NeighboursConfig = NeighboursConfig()
    project: ProjectConfig = ProjectConfig()
    scale: ScaleConfig = ScaleConfig()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if bool(self.train.saes) == bool(self.imports.saes):
            raise ValueError("give either [[train.saes]], autoencoders to train, or [[imports.saes]], some to import")
        names = self.sae_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two autoencoders of the same architecture and size: {', '.join(twice)}")
        if long := [name for place in self.places if len(name := self.run_name(place)) > LONGEST_NAME]:
            raise ValueError(f"the run of another hook would be called {long[0]}: give the recipe a shorter name")
        return self

    @property
    def saes(self) -> tuple[SAEConfig | ImportedSAE, ...]:
        """The autoencoders that are trained, or imported."""
        return self.train.saes or self.imports.saes

    def sae_name(self, sae: SAEConfig | ImportedSAE) -> str:
        """The autoencoder's name in folders and addresses, e.g. 14-relu-4096, 14-mlp-relu-4096."""
        if sae.name is not None:
            return sae.name
        return f"{self.place_of(sae).address}-{sae.architecture}-{sae.num_features}"

    def place_of(self, sae: SAEConfig | ImportedSAE) -> Place:
        """The hook that an autoencoder reads."""
        model = self.model
        return Place(model.layer if sae.layer is None else sae.layer, sae.hook or model.hook)

    @property
    def places(self) -> list[Place]:
        """The hooks that its autoencoders read, each once, in their order."""
        return list(dict.fromkeys(self.place_of(sae) for sae in self.saes))

    def run_name(self, place: Place) -> str:
        """The run of the autoencoders at one hook: the recipe's name, with the hook behind it where it is another."""
        return self.name if place == self.model.place else f"{self.name}-{place.address}"

    def by_place(self) -> "list[Recipe]":
        """A recipe for each hook that is read, as if there were no other: itself where it names but the model's."""
        return [self._at(place) for place in self.places]

    def _at(self, place: Place) -> "Recipe":
        def alone(saes: tuple[S, ...]) -> tuple[S, ...]:
            found = [sae for sae in saes if self.place_of(sae) == place]
            return tuple(sae.model_copy(update={"layer": None, "hook": None}) for sae in found)

        parts = {
            "name": self.run_name(place),
            "model": self.model.model_copy(update=place._asdict()),
            "train": self.train.model_copy(update={"saes": alone(self.train.saes)}),
            "imports": self.imports.model_copy(update={"saes": alone(self.imports.saes)}),
        }
        return self.model_copy(update=parts)

    @property
    def sae_names(self) -> list[str]:
        """Names of all autoencoders in the order of the recipe."""
        return [self.sae_name(sae) for sae in self.saes]


def recipe_names() -> list[str]:
    """Recipes that come with the code."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


NEUTRAL: dict[str, Any] = {
    "name": "none",
    "corpus": {"source": "sample"},
    "model": {"name": "none", "source": "sample", "layer": 0},
    "tokenize": {"context_length": 8},
    "train": {"saes": [{"architecture": "relu", "num_features": 2}]},
    "imports": {},
}
"""Values that ask for nothing in place of wrong ones: of required fields, and where the usual may not fit."""


class ReadRecipe(NamedTuple):
    """A recipe as far as it can be read."""

    recipe: Recipe
    """Valid, with neutral values in place of what is wrong."""
    problems: list[str]
    """A line for each mistake in the file and the overrides."""
    broken: frozenset[str]
    """Sections and fields (`model`, `model.layer`) whose values are not those that were given."""

    def by_place(self) -> "list[ReadRecipe]":
        """The same for each hook that is read; the mistakes are told of each."""
        return [self._replace(recipe=one) for one in self.recipe.by_place()]

    def gives(self, *names: str) -> bool:
        """Whether these sections and fields are as they were given, with all that is in them."""
        return not any(f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.") for a in names for b in self.broken)


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of ours by name, or any TOML file by path, with `section.field=value` overrides applied.

    Raises ConfigError, with what to do, for an unknown recipe, field or value.
    """
    return _whole(read_recipe(name, overrides))


def make_recipe(raw: dict[str, Any]) -> Recipe:
    """Validate a plain dictionary. Raises ConfigError that names every wrong field."""
    return _whole(ReadRecipe(*read_what_can_be(Recipe, raw, NEUTRAL)))


def read_recipe(name: str, overrides: Sequence[str] = ()) -> ReadRecipe:
    """The same as `load_recipe` with what is wrong beside what can be read.

    Raises ConfigError when there is no such recipe, or it is no TOML.
    """
    raw, problems = _read_toml(name), []
    for override in overrides:
        try:
            apply_override(raw, override, Recipe)
        except ConfigError as error:
            problems.append(str(error))
    found = read_what_can_be(Recipe, raw, NEUTRAL)
    return ReadRecipe(found.recipe, problems + found.problems, found.broken)


def _read_toml(name: str) -> dict[str, Any]:
    path = RECIPES / f"{name}.toml" if name in recipe_names() else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise ConfigError(
            f"there is no recipe '{name}': use one of {', '.join(recipe_names())}, or the path of a .toml"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _whole(read: ReadRecipe) -> Recipe:
    if read.problems:
        raise ConfigError("the recipe is not valid:\n" + "\n".join(f"  {line}" for line in read.problems))
    return read.recipe
