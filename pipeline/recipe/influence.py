"""Sections of the recipe on what features do to the model: texts written while they are held, their ablation, and what
each strength does."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from pipeline.recipe.section import Positive, Section

Opening = Annotated[str, StringConstraints(pattern=r"\S", max_length=1000)]
Strength = Annotated[float, Field(gt=0, le=10)]
SignedStrength = Annotated[float, Field(ge=-10, le=10)]


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


class StrengthsConfig(Section):
    """Curves over the strength at which a feature is held: how likely its words get, and where the text breaks."""

    features: Annotated[int, Field(ge=0)] = 24
    """Features that are measured: those that respond, those that pages lead with first, up to half of them; the others
    drawn at random from the live ones, the same share of each autoencoder. 0 measures nothing."""
    strengths: Annotated[tuple[SignedStrength, ...], Field(min_length=2)] = (
        -1.0,
        0.5,
        1.0,
        1.5,
        2.0,
        3.0,
        4.0,
        6.0,
        8.0,
        10.0,
    )
    """Times a feature's highest activation, ascending; at all of them predictions are read."""
    openings: Annotated[tuple[Opening, ...], Field(min_length=1)] = ("I am a", "She is the")
    """Texts that the model continues."""
    positions: Annotated[int, Field(ge=2)] = 6
    """Next tokens after each opening, along what the model says by itself, of which predictions are the mean."""
    words: Positive = 8
    """Tokens of each feature whose probability is measured: those that it raises most."""
    text_strengths: tuple[Strength, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Of the strengths, those at which texts are written and judged, where predictions have not broken; none: no
    texts."""
    new_tokens: Annotated[int, Field(ge=2)] = 16
    """Length of a text, at least `positions`."""
    planted: Positive = 16
    """Labels of known truth by which the judge is measured on such texts."""

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        if len(set(self.openings)) < len(self.openings):
            raise ValueError("one of the openings is named twice")
        if list(self.strengths) != sorted(set(self.strengths)) or 0 in self.strengths or self.strengths[-1] < 0:
            raise ValueError("the strengths must ascend, each named once, without 0 and with one above it")
        if self.new_tokens < self.positions:
            raise ValueError("new_tokens must be at least as many as positions: both go along the same texts")
        if list(self.text_strengths) != sorted(set(self.text_strengths)):
            raise ValueError("the text_strengths must ascend, each named once")
        if other := sorted(set(self.text_strengths) - set(self.strengths)):
            raise ValueError(f"{other[0]:g} is in text_strengths and must be in strengths too")
        return self
