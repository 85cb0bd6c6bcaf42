"""The words in which every interface states a model's licence, and how its file was checked."""

from __future__ import annotations

from typing import Literal

from .entries import Commercial, ModelEntry

Verified = Literal["sha256", "size", "nothing"]
"""What a file was compared with: its published SHA-256, its published size, or neither, as neither is published."""

COMMERCIAL_USE: dict[Commercial, str] = {
    "yes": "commercial use allowed",
    "no": "no commercial use",
    "unclear": "commercial use unclear",
}
VERIFIED: dict[Verified, str] = {
    "sha256": "SHA-256 as published",
    "size": "size as published; nobody states its SHA-256",
    "nothing": "nobody states its size or SHA-256, so it could not be checked",
}


def licence_text(entry: ModelEntry) -> str:
    """On which terms a model may be used, in whole sentences."""
    parts = (f"{entry.id}: {entry.licence or 'no licence is stated'}", entry.licence_note)
    sentences = [f"{part.rstrip('.')}." for part in parts if part]
    return " ".join([*sentences, sentence(COMMERCIAL_USE[entry.commercial])])


def sentence(words: str) -> str:
    """Words as a sentence: a capital first and a full stop at the end."""
    return f"{words[:1].upper()}{words[1:]}."
