"""In which order the addresses of a file are tried."""

from __future__ import annotations

import pytest

from lib_facerestore.catalogue import ModelFile
from lib_facerestore.catalogue.download import MIRROR, addresses


def test_the_mirror_goes_first() -> None:
    file = ModelFile("a", urls=("https://github.com/a", "https://huggingface.co/b/c"))
    assert addresses(file, "https://m.example/")[0] == "https://m.example/b/c"
    assert addresses(file, "") == list(file.urls)


def test_the_environments_mirror_counts_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    file = ModelFile("a", urls=("https://huggingface.co/b",))
    monkeypatch.setenv(MIRROR, "https://env.example")
    assert addresses(file)[0] == addresses(file, None)[0] == "https://env.example/b"
    assert addresses(file, "https://m.example")[0] == "https://m.example/b"
