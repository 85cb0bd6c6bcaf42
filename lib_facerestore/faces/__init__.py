"""Faces as data: boxes, landmarks, numbering, selection, and the alignment of their crops."""
