"""Responses: the effects of a run's features on texts."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NOT_MEASURED = {
    "why_none": "This run was published before responses were measured: run its recipe again.",
    "probed": 0,
    "written": 0,
    "responded": 0,
    "best": [],
}


def upgrade() -> None:
    column = sa.Column("responses", sa.JSON(), nullable=False, server_default=json.dumps(NOT_MEASURED))
    op.add_column("runs", column)


def downgrade() -> None:
    op.drop_column("runs", "responses")
