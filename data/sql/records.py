"""Records of published runs and of what people keep, in SQL: SQLite in the store by default, any SQLAlchemy URL by
MONOSEMA_DATABASE_URL.

Only `publish` writes `runs` and `saes`. Lists, prompts, owners' labels and verdicts are written by the server
only, and point at no run, so that they survive whatever is published.
Schema changes go through `data/sql/migrations`; `prepare` brings a database up to date.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, LargeBinary, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """Tables of the project, with named constraints so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class PublishedRunRecord(Base):
    """One published run. It appears, or changes, in the transaction that ends `publish`."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    key: Mapped[str] = mapped_column(String(16))
    """Key of the publish artifact; its folder is published/{name}/{key}."""
    contract: Mapped[int]
    model: Mapped[str] = mapped_column(String(64))
    """Slug of the language model in addresses; what people are shown is `model_name`."""
    model_source: Mapped[str]
    """Folder of the live model: relative to the store when inside it (models/{slug}), else absolute."""
    layer: Mapped[int]
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    corpus: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Counts of the fetch, tokenize, harvest and examples manifests, by stage name."""
    showpieces: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """Features to begin with: sae, index, label, word and agreement of each, see pipeline/influence/showpieces.py."""
    responses: Mapped[dict[str, Any]] = mapped_column(JSON)
    """What features that are held make the model write, see data.artifacts.responses.Responses."""
    created: Mapped[datetime]
    """Time of publication, UTC without a time zone."""
    saes: Mapped[list["SAERecord"]] = relationship(
        back_populates="run", order_by="SAERecord.position", cascade="all, delete-orphan"
    )

    @property
    def model_name(self) -> str:
        """What the language model is called, e.g. SmolLM2-135M-Instruct (Q4_1, dequantised)."""
        return str(self.corpus["fetch"]["model_name"])


class SAERecord(Base):
    """One published sparse autoencoder."""

    __tablename__ = "saes"
    __table_args__ = (UniqueConstraint("model", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    model: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]
    """Its place among the SAEs of the run: its number in neighbours."""
    first_row: Mapped[int]
    """Row of its feature 0 in the run's table `features`."""
    num_features: Mapped[int]
    architecture: Mapped[str] = mapped_column(String(16))
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Its section of the recipe."""
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Metrics of `evaluate`, see docs/method.md; the counts of data.artifacts.features.FeatureCounts; and
    `loss_trend`, see data.artifacts.curve.LossTrend, or None."""
    curve: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    """Training curve, at most 200 points."""
    histogram_scale: Mapped[float]
    """See data.artifacts.features.histogram_edges."""
    run: Mapped[PublishedRunRecord] = relationship(back_populates="saes")


class ListRecord(Base):
    """A list of features that somebody made."""

    __tablename__ = "lists"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Random: who knows it may read the list."""
    secret_hash: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the secret that allows to edit it, in hexadecimal; the secret itself is kept nowhere."""
    name: Mapped[str] = mapped_column(String(200))
    note: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime]
    """UTC without a time zone, as `changed`."""
    changed: Mapped[datetime]


class ListEntryRecord(Base):
    """One feature in a list, by name: it may be gone, and come back, with what is published."""

    __tablename__ = "list_entries"
    __table_args__ = (UniqueConstraint("list_id", "model", "sae", "index"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    list_id: Mapped[str] = mapped_column(ForeignKey("lists.id", ondelete="CASCADE"))
    position: Mapped[int]
    """Its place in the list, from 0."""
    model: Mapped[str] = mapped_column(String(64))
    sae: Mapped[str] = mapped_column(String(64))
    index: Mapped[int]
    note: Mapped[str] = mapped_column(Text)


class PromptRecord(Base):
    """A text too long for an address, which somebody read with the model."""

    __tablename__ = "prompts"

    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    """By its content, see backend/prompts/store.py."""
    text: Mapped[bytes] = mapped_column(LargeBinary)
    """UTF-8: bytes, for not every database takes a NUL in a text."""
    created: Mapped[datetime]
    """UTC without a time zone."""


class SteeringRecord(Base):
    """One finished steering. Written by the server only, never changed, and independent of what is published."""

    __tablename__ = "steerings"

    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    """From the content of the request, see backend/steering/results.py."""
    created: Mapped[datetime]
    """UTC without a time zone."""
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    """A `SteeringResult`."""


class FeatureLabelRecord(Base):
    """What an owner of the server wrote about one feature. Written by the server only, and independent of what is
    published: after a republish with other weights the same index is another feature, which has another direction."""

    __tablename__ = "feature_labels"
    __table_args__ = (UniqueConstraint("model", "sae", "index", "direction"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(64))
    sae: Mapped[str] = mapped_column(String(64))
    index: Mapped[int]
    direction: Mapped[str] = mapped_column(String(32))
    """Hash of its decoder direction, see backend/published/corrections.py."""
    label: Mapped[str] = mapped_column(String(200))
    """"" for none; a row without label and note stays, so that `revision` never falls."""
    note: Mapped[str] = mapped_column(Text)
    changed: Mapped[datetime]
    """UTC without a time zone."""
    revision: Mapped[int]
    """Number of the change that wrote it; the highest says whether a server has read all."""


class ConceptListRecord(Base):
    """A list of concepts that somebody uploaded. Written by the server only, and never changed."""

    __tablename__ = "concept_lists"

    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    """By its content, see backend/completeness/store.py."""
    text: Mapped[str] = mapped_column(Text)
    """As data/concepts/lists.py says lists are written."""
    created: Mapped[datetime]
    """UTC without a time zone."""


class ConceptVerdictRecord(Base):
    """What an owner of the server says of whether a concept is represented in an SAE, beside what was measured. Written
    by the server only, and independent of what is published: other weights under the same name are another SAE."""

    __tablename__ = "concept_verdicts"
    __table_args__ = (UniqueConstraint("model", "sae", "weights", "list", "concept"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(64))
    sae: Mapped[str] = mapped_column(String(64))
    weights: Mapped[str] = mapped_column(String(32))
    """Hash that names the weights, see backend/published/verdicts.py."""
    list: Mapped[str] = mapped_column(String(64))
    """Name of a list of the run, or the id of an uploaded one."""
    concept: Mapped[str] = mapped_column(String(64))
    represented: Mapped[bool]
    note: Mapped[str] = mapped_column(Text)
    changed: Mapped[datetime]
    """UTC without a time zone."""
