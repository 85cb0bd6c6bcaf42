"""The terms of a model in words."""

from __future__ import annotations

from lib_facerestore.catalogue import known_model
from lib_facerestore.catalogue.terms import licence_text


def test_every_licence_is_whole_sentences() -> None:
    entry = known_model("codeformer")
    assert entry is not None
    text = licence_text(entry)
    assert text.startswith("codeformer: S-Lab License 1.0.") and entry.licence_note in text and ".." not in text
    assert text.endswith(" No commercial use.")
