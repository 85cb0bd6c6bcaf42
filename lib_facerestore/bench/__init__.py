"""Measurements: each stage and network, and the whole job, beside the reference packages."""
