"""Schema changes of the SQL database, in order."""
