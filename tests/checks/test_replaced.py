"""An attribute that is replaced for a while."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lib_facerestore.checks.replaced import replaced


def test_the_attribute_comes_back_whatever_happens() -> None:
    owner = SimpleNamespace(name="own")
    seen: list[str] = []

    def fail() -> None:
        with replaced(owner, "name", "other"):
            seen.append(owner.name)
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert (seen, owner.name) == (["other"], "own")


def test_an_attribute_that_is_not_there_is_an_error() -> None:
    owner = SimpleNamespace()
    with pytest.raises(AttributeError, match="absent"), replaced(owner, "absent", 1):
        pass
    assert vars(owner) == {}
