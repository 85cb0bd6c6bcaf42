"""Checks of an installation: verifying model files, comparing with the original networks, and `doctor`."""
