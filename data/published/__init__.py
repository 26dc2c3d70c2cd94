"""What the server reads of a run: tables, rows, map, search terms."""
