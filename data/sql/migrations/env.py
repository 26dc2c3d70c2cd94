"""Runs the migrations on the connection that `data.sql.database.prepare` hands over; there is no offline mode."""

from alembic import context

from data.sql.records import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter most of a table in place
)
with context.begin_transaction():
    context.run_migrations()
