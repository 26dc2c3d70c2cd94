"""Concepts: lists that people upload, and what owners of the server say of single concepts."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "concept_lists",
        sa.Column("id", sa.String(24), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_concept_lists")),
    )
    op.create_table(
        "concept_verdicts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("sae", sa.String(64), nullable=False),
        sa.Column("weights", sa.String(32), nullable=False),
        sa.Column("list", sa.String(64), nullable=False),
        sa.Column("concept", sa.String(64), nullable=False),
        sa.Column("represented", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("changed", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_concept_verdicts")),
        sa.UniqueConstraint("model", "sae", "weights", "list", "concept", name=op.f("uq_concept_verdicts_model")),
    )


def downgrade() -> None:
    op.drop_table("concept_verdicts")
    op.drop_table("concept_lists")
