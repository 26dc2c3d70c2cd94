"""What Neuronpedia takes, in our own words: every file of a bundle of dashboards, field by field.

By SAEDashboard (sae_dashboard/neuronpedia/neuronpedia_dashboard.py, neuronpedia_converter.py and neuronpedia_export.py)
and by the tables Model, Source, SourceSet, SourceRelease, Neuron, Activation and Explanation of Neuronpedia
(apps/webapp/prisma/schema.prisma), as they were in 2026. No other field may come.
"""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, StringConstraints, model_validator

ModelId = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""PostgreSQL keeps no zero byte."""
Share = Annotated[float, Field(ge=0, le=1)]
Number = StrictFloat | StrictInt
Floats = list[Number]
Ints = list[StrictInt]
Texts = list[Text]


class Row(BaseModel):
    """Has these fields and no others; numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Tables(Row):
    """What a feature has in both: columns of arrays in pairs of equal length."""

    neuron_alignment_indices: Ints
    neuron_alignment_values: Floats
    neuron_alignment_l1: Floats
    correlated_neurons_indices: Ints
    correlated_neurons_pearson: Floats
    correlated_neurons_l1: Floats
    correlated_features_indices: Ints
    correlated_features_pearson: Floats
    correlated_features_l1: Floats
    neg_str: Texts
    neg_values: Floats
    pos_str: Texts
    pos_values: Floats
    frac_nonzero: Share
    freq_hist_data_bar_heights: Floats
    freq_hist_data_bar_values: Floats
    logits_hist_data_bar_heights: Floats
    logits_hist_data_bar_values: Floats
    decoder_weights_dist: Floats

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        for one, other in (
            (self.neg_str, self.neg_values), (self.pos_str, self.pos_values),
            (self.freq_hist_data_bar_heights, self.freq_hist_data_bar_values),
            (self.logits_hist_data_bar_heights, self.logits_hist_data_bar_values),
            (self.neuron_alignment_indices, self.neuron_alignment_values),
        ):  # fmt: skip
            assert len(one) == len(other)
        return self


class DashboardActivation(Row):
    """An example: -1 for the bin of one of the strongest, whose bin_max is the feature's maximum."""

    bin_min: float
    bin_max: float
    bin_contains: float
    qualifying_token_index: StrictInt
    tokens: Texts
    values: Floats

    @model_validator(mode="after")
    def _fits(self) -> Self:
        assert len(self.tokens) == len(self.values) > self.qualifying_token_index >= 0
        assert (self.bin_min, self.bin_contains) == (-1, -1) or (self.bin_min >= 0 and 0 <= self.bin_contains <= 1)
        return self


class DashboardFeature(Tables):
    feature_index: StrictInt
    n_prompts_total: StrictInt
    n_tokens_in_prompt: StrictInt
    dataset: StrictStr
    activations: list[DashboardActivation]


class DashboardBatch(Row):
    """A file of SAEDashboard."""

    model_id: ModelId
    layer: StrictInt
    sae_set: StrictStr
    features: list[DashboardFeature]


class Neuron(Tables):
    modelId: ModelId
    layer: StrictStr
    index: StrictStr
    sourceSetName: StrictStr | None
    creatorId: StrictStr | None
    createdAt: datetime
    maxActApprox: float | None
    hasVector: bool
    vector: Floats
    vectorLabel: str | None
    vectorDefaultSteerStrength: float | None
    hookName: str | None
    topkCosSimIndices: Ints
    topkCosSimValues: Floats


class Activation(Row):
    id: Annotated[str, StringConstraints(pattern=r"^c[0-9a-z]{24}$")]
    tokens: Texts
    index: StrictStr
    layer: StrictStr
    modelId: ModelId
    maxValue: float
    maxValueTokenIndex: StrictInt
    minValue: float
    values: Floats
    creatorId: StrictStr
    createdAt: datetime
    dataSource: str | None
    dataIndex: str | None
    dfaValues: Floats
    dfaTargetIndex: int | None
    dfaMaxValue: float | None
    lossValues: Floats
    logitContributions: str | None
    binMin: float | None
    binMax: float | None
    binContains: float | None
    qualifyingTokenIndex: int | None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        assert len(self.tokens) == len(self.values)
        assert self.values[self.maxValueTokenIndex] == self.maxValue == max(self.values)
        assert self.minValue == min(self.values)
        return self


class Explanation(Row):
    id: Annotated[str, StringConstraints(pattern=r"^c[0-9a-z]{24}$")]
    modelId: ModelId
    layer: StrictStr
    index: StrictStr
    authorId: StrictStr
    description: Text
    typeName: str | None
    explanationModelName: str | None
    notes: str | None
    createdAt: datetime


Visibility = Literal["PUBLIC", "PRIVATE", "UNLISTED"]


class Release(Row):
    name: StrictStr
    description: StrictStr
    descriptionShort: str | None
    creatorName: StrictStr
    creatorNameShort: str | None
    creatorId: StrictStr
    creatorEmail: str | None
    visibility: Visibility
    isNewUi: bool
    featured: bool
    urls: Texts
    defaultSourceSetName: str | None
    defaultSourceId: str | None
    defaultUmapSourceIds: Texts
    createdAt: datetime


class Model(Row):
    id: ModelId
    instruct: bool
    displayNameShort: StrictStr
    displayName: StrictStr
    creatorId: StrictStr
    tlensId: str | None
    dimension: int | None
    visibility: Visibility
    defaultSourceSetName: str | None
    defaultSourceId: str | None
    inferenceEnabled: bool
    layers: Annotated[int, Field(ge=0)]
    neuronsPerLayer: Annotated[int, Field(ge=0)]
    owner: str
    website: str | None
    createdAt: datetime
    updatedAt: datetime


class SourceSet(Row):
    modelId: ModelId
    name: StrictStr
    creatorId: StrictStr
    creatorName: StrictStr
    hasDashboards: bool
    visibility: Visibility
    description: StrictStr
    type: str
    urls: Texts
    creatorEmail: str | None
    releaseName: str | None
    defaultOfModelId: str | None
    defaultRange: int
    defaultShowBreaks: bool
    showDfa: bool
    showCorrelated: bool
    showHeadAttribution: bool
    showUmap: bool
    createdAt: datetime


class Source(Row):
    id: StrictStr
    modelId: ModelId
    setName: StrictStr
    creatorId: StrictStr
    hasDashboards: bool
    inferenceEnabled: bool
    saelensConfig: str | None
    saelensRelease: str | None
    saelensSaeId: str | None
    hfRepoId: str | None
    hfFolderId: str | None
    visibility: Visibility
    defaultOfModelId: str | None
    hasUmap: bool
    hasUmapLogSparsity: bool
    hasUmapClusters: bool
    num_prompts: int | None
    num_tokens_in_prompt: int | None
    dataset: str | None
    notes: str | None
    createdAt: datetime


HEADS: dict[str, type[Row]] = {"release": Release, "model": Model, "sourceset": SourceSet, "source": Source}
BATCHES: dict[str, type[Row]] = {"features": Neuron, "activations": Activation, "explanations": Explanation}
