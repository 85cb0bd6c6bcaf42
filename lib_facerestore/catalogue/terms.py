"""Texts about a model's licence, and about how its file was verified, for all interfaces."""

from __future__ import annotations

from typing import Literal

from .entries import Commercial, ModelEntry

Verified = Literal["sha256", "size", "nothing"]
"""How a file was verified: by its published SHA-256, by its published size, or not at all if neither is published."""

COMMERCIAL_USE: dict[Commercial, str] = {
    "yes": "commercial use allowed",
    "no": "no commercial use",
    "unclear": "commercial use unclear",
}
VERIFIED: dict[Verified, str] = {
    "sha256": "SHA-256 as published",
    "size": "size as published; its SHA-256 is not published",
    "nothing": "not verified, because neither its size nor its SHA-256 is published",
}


def licence_text(entry: ModelEntry) -> str:
    """The terms of use of a model, in complete sentences."""
    parts = (f"{entry.id}: {entry.licence or 'no licence is stated'}", entry.licence_note)
    sentences = [f"{part.rstrip('.')}." for part in parts if part]
    return " ".join([*sentences, sentence(COMMERCIAL_USE[entry.commercial])])


def sentence(words: str) -> str:
    """The words with an upper-case first letter and a full stop."""
    return f"{words[:1].upper()}{words[1:]}."
