"""Sections of the recipe on what features mean: the judges that are asked, and of which features."""

import json
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, StringConstraints, model_validator

from pipeline.recipe.section import Positive, Section, Slug

TaskName = Literal["specificity", "detection", "fuzzing"]
Price = Annotated[float, Field(ge=0)]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]

HOW_ASKED = frozenset({"concurrency", "retries", "timeout", "max_cost", "batch_tokens"})
"""Fields of a judge that change no answer, and so belong to no key."""


class JudgeConfig(Section):
    """One judge."""

    kind: Literal["rule", "sentences", "local", "served"]
    """rule: the label's own rule; sentences: the encoder of section `embed`; local: a chat model through transformers;
    served: a chat model behind any server that speaks OpenAI's protocol."""
    name: Slug | None = None
    """Its name on pages; its kind by default. Two judges need two names."""
    model: str | None = None
    """local: a folder with a chat model, the run's own by default; served: the model's name on the server."""
    base_url: str | None = None
    """served: such as http://127.0.0.1:8080/v1."""
    key_variable: VariableName = "OPENAI_API_KEY"
    """served: the environment variable that holds the key. Keys are never part of a recipe."""
    extra_body: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=lambda body: not body)
    """served: further fields of every request, as the server documents them, such as those that switch a model's
    thinking off. They take the place of ours."""
    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)] = ("specificity", "detection", "fuzzing")
    features: Positive | None = None
    """It judges the first so many of those that are scored; None: all."""
    samples: Positive | None = None
    """Of the activations of each feature, so many at most, the same number of each band; None: all."""
    planted: Positive | None = None
    """Labels by which it is measured; None: as many as the section says."""
    proposals: Annotated[int, Field(ge=0)] | None = None
    """local, served: it writes labels for the first so many of the features whose candidates are tried; None: for all
    of them, 0: for none."""
    batch_tokens: Positive = 4096
    """local: tokens in one forward pass, padding included."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """served: questions that wait for an answer at the same time."""
    retries: Annotated[int, Field(ge=0, le=20)] = 6
    """served: further tries of a question that the server refused or did not answer."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """served: seconds for one answer."""
    input_price: Price = 0.0
    """served: of a million tokens that it reads, in the currency of its bill."""
    output_price: Price = 0.0
    """served: of a million tokens that it writes."""
    max_cost: Price | None = None
    """served: a command ends when all its stages together have cost as much, by the prices. Questions that wait for
    their answers then, at most `concurrency`, are paid for too; whatever is answered is kept."""

    @property
    def title(self) -> str:
        """Its name on pages."""
        return self.name or self.kind

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Of so many tokens, in the currency of the server's bill."""
        return (tokens_in * self.input_price + tokens_out * self.output_price) / 1e6

    @property
    def num_proposals(self) -> int | None:
        """Features for which it proposes labels; None: all."""
        return self.proposals if self.kind in ("local", "served") else 0

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind == "served" and not (self.base_url and self.model):
            raise ValueError("a served judge needs base_url and model")
        if "@" in urlsplit(self.base_url or "").netloc:
            raise ValueError("base_url holds a user or password: take it out, and put the key into key_variable")
        if self.kind != "served" and self.base_url:
            raise ValueError(f"a judge of kind '{self.kind}' takes no base_url: kind = \"served\" does")
        if self.max_cost is not None and not (self.input_price or self.output_price):
            raise ValueError("max_cost is counted by input_price and output_price: set these, or take max_cost away")
        self._check_body()
        if self.kind in ("rule", "sentences") and self.model:
            raise ValueError(f"a judge of kind '{self.kind}' takes no model")
        if self.kind in ("rule", "sentences") and self.proposals:
            raise ValueError(f"a judge of kind '{self.kind}' cannot write labels: take proposals away")
        return self

    def _check_body(self) -> None:
        """Raise ValueError when extra_body is for no server, holds no plain JSON, or what is ours to say."""
        if self.kind != "served" and self.extra_body:
            raise ValueError(f"a judge of kind '{self.kind}' takes no extra_body: kind = \"served\" does")
        if taken := sorted({"model", "messages", "stream", "n"} & set(self.extra_body)):
            raise ValueError(f"extra_body may not set {', '.join(taken)}: take it away")
        try:
            json.dumps(self.extra_body, allow_nan=False)
        except ValueError:
            raise ValueError("extra_body holds a number that JSON has not (nan, inf): take it away") from None


SMALL = JudgeConfig(kind="local", tasks=("specificity",), features=3, samples=20, planted=12, proposals=3)
"""What the run's own model judges by default: on a laptop, some seconds for one of 135 million parameters."""


class ScoreConfig(Section):
    """Scores: whether features mean what their labels say, by judges that were first measured themselves."""

    features: Annotated[int, Field(ge=0)] = 36
    """Labelled features that are scored, the same share of every autoencoder: half those that pages lead with, half
    drawn at random; 0 scores none."""
    samples: Positive = 1000
    """Activations above zero of each feature, drawn evenly over its range."""
    bands: Annotated[int, Field(ge=2, le=100)] = 10
    """Parts of equal width between zero and a feature's maximum; each gives the same number of samples, if it has as
    many."""
    context: Positive = 24
    """Tokens kept on either side of a sample."""
    examples: Positive = 10
    """detection and fuzzing: texts with the feature, and as many without it."""
    planted: Positive = 40
    """Labels of known truth by which every judge is measured."""
    unlabelled: Annotated[int, Field(ge=0)] = 9
    """Live features without a label, drawn at random, the same share of every autoencoder: candidates for labels are
    tried on them too."""
    candidate_texts: Annotated[int, Field(ge=0)] = 12
    """Texts with a feature, and as many without it, on which candidates for its label are tried; 0 tries none."""
    judges: tuple[JudgeConfig, ...] = (
        JudgeConfig(kind="rule"),
        JudgeConfig(kind="sentences", tasks=("specificity", "fuzzing"), samples=40),
        SMALL,
    )
    """In the order of pages. A judge that a run cannot have is left out, with the reason."""

    @property
    def num_unlabelled(self) -> int:
        """Features without a label on which candidates are tried."""
        return self.unlabelled if self.features and self.candidate_texts else 0

    @model_validator(mode="after")
    def _check_judges(self) -> Self:
        names = [judge.title for judge in self.judges]
        if len(set(names)) < len(names):
            raise ValueError("two judges have the same name: give one of them another")
        return self
