"""The command line: `main`, a module for each command, and shared modules (`arguments`, `output`, `progress`)."""
