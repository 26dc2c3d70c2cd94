"""SQL: records, database, migrations."""
