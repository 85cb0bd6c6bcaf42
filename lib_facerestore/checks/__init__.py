"""Checks of an installation: model files, the reference packages' networks, what is installed."""
