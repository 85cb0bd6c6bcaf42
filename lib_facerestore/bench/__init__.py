"""Measurements of the networks and of the whole job, compared with the reference packages."""
