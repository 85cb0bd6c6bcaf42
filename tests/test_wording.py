"""What is suggested for a misspelt word."""

from __future__ import annotations

import pytest

from lib_facerestore.catalogue import known_models
from lib_facerestore.options.table import SPECS
from lib_facerestore.wording import counted, did_you_mean

RESTORERS = [entry.id for entry in known_models()]
EVERYTHING = [entry.id for entry in known_models(None)]


@pytest.mark.parametrize(
    ("text", "known", "meant"),
    [
        ("gfpgan", RESTORERS, "gfpgan-1.4"),
        ("GFPGAN", RESTORERS, "gfpgan-1.4"),
        ("gfpgan-1.5", RESTORERS, "gfpgan-1.4"),
        ("gfpgan1.3", RESTORERS, "gfpgan-1.3"),
        ("gfpgann", RESTORERS, "gfpgan-1.4"),
        ("gfpgam", RESTORERS, "gfpgan-1.4"),
        ("gfpgann-1", RESTORERS, "gfpgan-1"),
        ("gpem", RESTORERS, "gpen-512"),
        ("vqrf", RESTORERS, "vqfr-2"),
        ("retinafase", EVERYTHING, "retinaface-resnet50"),
        ("realesrgam", EVERYTHING, "realesrgan-x2plus"),
        ("codefromer-onnx", EVERYTHING, "codeformer-onnx"),
        ("gpen", RESTORERS, "gpen-512"),
        ("vqfr", RESTORERS, "vqfr-2"),
        ("codefromer", RESTORERS, "codeformer"),
        ("restorformer++", RESTORERS, "restoreformer++"),
        ("mine.pht", ["Mine.pth"], "Mine.pth"),
        ("visiblity", SPECS, "visibility"),
        ("fid", SPECS, "fidelity"),
    ],
)
def test_the_usual_one_of_several_is_suggested(text: str, known: list[str], meant: str) -> None:
    assert did_you_mean(text, known) == f" Did you mean {meant}?"


def test_things_are_counted_and_some_are_named() -> None:
    assert [counted("tensor", "abcd"[:count]) for count in (0, 1, 3, 4)] == [
        "0 tensors", "1 tensor (a)", "3 tensors (a, b, c)", "4 tensors (a, b, c, …)",
    ]  # fmt: skip


def test_nothing_is_suggested_for_what_is_like_nothing() -> None:
    assert did_you_mean("zzz", RESTORERS) == did_you_mean("", RESTORERS) == did_you_mean("x", []) == ""
    assert did_you_mean("fidelty", SPECS, "--") == " Did you mean --fidelity?"
