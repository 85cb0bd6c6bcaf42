"""Many files in one run."""
