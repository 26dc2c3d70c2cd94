"""Sections of the recipe on what features do to the model: texts written while they are held, and their ablation."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from pipeline.recipe.section import Positive, Section

Opening = Annotated[str, StringConstraints(pattern=r"\S", max_length=1000)]
Strength = Annotated[float, Field(gt=0, le=10)]


class RespondConfig(Section):
    """Search for features that move what the model writes toward what they are about, when they are held meanwhile."""

    candidates: Annotated[int, Field(ge=0)] = 512
    """Features that are probed; 0 measures nothing."""
    tried: Positive = 60
    """Of these, so many write short texts after the first opening."""
    tried_strengths: Annotated[tuple[Strength, ...], Field(min_length=1)] = (0.75, 1.5)
    """Of the short texts, the first that of the probe too. Times a feature's highest activation, at most 10."""
    tried_tokens: Annotated[int, Field(ge=2)] = 16
    """Length of a short text."""
    written: Positive = 10
    """Of these, so many write after every chat, and half as many after every opening."""
    chats: tuple[Opening, ...] = ("Who are you?", "Tell me about yourself.", "Give me some advice.")
    """Messages that the model answers, where its tokenizer has a chat template."""
    openings: tuple[Opening, ...] = ("I am a", "She is the", "This is the")
    """Texts that the model continues."""
    strengths: Annotated[tuple[Strength, ...], Field(min_length=1)] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Of the texts, ascending."""
    new_tokens: Annotated[int, Field(ge=2)] = 48
    """Length of a text."""

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        for name, values in (("chats", self.chats), ("openings", self.openings)):
            if len(set(values)) < len(values):
                raise ValueError(f"one of the {name} is named twice")
        if list(self.strengths) != sorted(set(self.strengths)):
            raise ValueError("the strengths must ascend, each named once")
        if self.candidates and not self.openings:
            raise ValueError("name at least one opening: a model without a chat template has nothing else to continue")
        return self


class EffectsConfig(Section):
    """Measuring what features change in the model's predictions, by ablation at their strongest examples."""

    features: Annotated[int, Field(ge=0)] = 4096
    """Features that are measured: those that respond, and the most active of every autoencoder, the same share of
    each, up to so many together; 0 measures nothing."""
    examples: Positive = 3
    """Examples of each, of which the effect is the mean."""
    context: Positive = 96
    """Tokens before an example, at most; a feature whose strong examples all have more is measured at one of them."""
    tokens: Positive = 8
    """Next tokens kept of those most raised, and of those most lowered."""
    readings: Annotated[int, Field(ge=0)] = 3
    """Features whose three strongest examples are coloured token by token, so that their pages need no model: those
    that pages lead with, then those that change the prediction most."""
