"""Restoring many files in one run."""
