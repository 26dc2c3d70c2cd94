"""The part of a run that the server reads: tables, rows, map, search terms."""
