"""The options: one table, what a row is, and options of single faces."""
