"""The options: the table of all options, the type of its rows, and options of single faces."""
