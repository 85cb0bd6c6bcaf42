"""The page of `models list`: its width, its words, what is incomplete or needs a package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from lib_facerestore.catalogue import Store, known_model
from lib_facerestore.cli import model_page
from lib_facerestore.networks.archs.dfdnet_parts import DICTIONARY_FILES, DICTIONARY_FOLDER

from ..catalogue.test_catalogue import empty_file, shapes_of
from ..catalogue.test_inventory import close


def test_list_fits_narrow_and_plain_terminals(models: Path) -> None:
    survey = model_page.survey(Store([models]))
    text = model_page.page(survey, everything=True, width=70, encoding="ascii")
    assert "* lite" in text
    assert all(len(line) <= 70 for line in text.splitlines() if line.startswith(" " * 6) and line.endswith("."))


def test_a_model_without_the_files_beside_it_is_incomplete(models: Path) -> None:
    dfdnet = known_model("dfdnet")
    assert dfdnet is not None and (dfdnet.beside, dfdnet.beside_folder) == (DICTIONARY_FILES, DICTIONARY_FOLDER)
    empty_file(models / "own.safetensors", shapes_of("dfdnet"))

    def state() -> tuple[str, bool]:
        survey = model_page.survey(Store([models]))
        (row,) = (row for row in survey.to_dict()["models"] if row["id"] == "dfdnet")
        return row["state"], "INCOMPLETE" in model_page.page(survey)

    assert state() == ("incomplete", True)
    (models / DICTIONARY_FOLDER).mkdir()
    for name in DICTIONARY_FILES:
        (models / DICTIONARY_FOLDER / name).touch()
    assert state() == ("installed", False)


@pytest.mark.parametrize("width", [80, 120])
def test_the_page_keeps_to_its_width(models: Path, width: int) -> None:
    (models / "GFPGANv1.4.pth").write_bytes(b"hello")
    text = model_page.page(model_page.survey(Store([models])), everything=True, width=width)
    fixed = text.splitlines()[1:]  # the first names a folder, whose length is its own
    assert [line for line in fixed if len(line) > width] == []
    assert "here, and the built-in one)" in text and "size unknown" not in text.partition("onnxruntime")[0]
    assert "CANNOT BE USED: GFPGANv1.4.pth: damaged, or not a checkpoint" in " ".join(text.split())
    assert text.count("GFPGANv1.4.pth") == 1  # not among the other files too


def test_the_json_says_damaged_and_names_closed_folders(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "GFPGANv1.4.pth").write_bytes(b"hello")
    (models / "shut").mkdir()
    close(monkeypatch, models / "shut")
    survey = model_page.survey(Store([models]))
    shown = survey.to_dict()
    (row,) = (row for row in shown["models"] if row["id"] == "gfpgan-1.4")
    assert (row["state"], row["file"]) == ("damaged", None) and "GFPGANv1.4.pth: damaged, or" in row["fault"]
    (closed,) = shown["closed"]
    assert "NOT SEARCHED: " + closed in " ".join(model_page.page(survey).split())


def test_a_missing_package_is_named_and_no_other(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    survey = model_page.survey(Store([models]))
    monkeypatch.setattr(model_page, "package_is_there", lambda name: False)
    text = model_page.page(survey, everything=True)
    assert text.count("needs the package spandrel") == 3 and "needs the package onnxruntime" in text
    monkeypatch.setattr(model_page, "package_is_there", lambda name: True)
    assert "needs the package" not in model_page.page(survey, everything=True)


def test_a_half_removed_package_counts_as_missing(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))  # has no spec
    assert "needs the package onnxruntime" in model_page.page(model_page.survey(Store([models])), everything=True)
