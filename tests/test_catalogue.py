"""The store: what is installed where, and what an id, a file name or a path stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib_facerestore.catalogue import ENVIRONMENT, Store, default_models_folder, known_models
from lib_facerestore.errors import ModelFileError

DESIGN_IDS = {
    "gfpgan-1", "gfpgan-1.2", "gfpgan-1.3", "gfpgan-1.4", "codeformer", "gpen-256", "gpen-512", "gpen-1024",
    "gpen-2048", "restoreformer", "restoreformer++", "vqfr-1", "vqfr-2", "dfdnet", "lite",
}  # fmt: skip


def test_every_promised_id_is_known_once_and_lite_comes_last() -> None:
    ids = [entry.id for entry in known_models()]
    assert set(ids) == DESIGN_IDS
    assert len(ids) == len(set(ids))
    assert ids[-1] == "lite"


def test_files_are_found_in_sub_folders_whatever_the_case(tmp_path: Path) -> None:
    path = tmp_path / "GFPGAN" / "gfpganV1.4.pth"
    path.parent.mkdir()
    path.touch()
    store = Store([tmp_path / "absent", tmp_path])
    assert store.installed()["gfpgan-1.4"] == path
    assert list(store.installed())[-1] == "lite"
    assert store.find("GFPGAN-1.4") == path
    assert store.find(path.name) == path
    assert store.find(str(path)) == path


def test_what_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"codeformer is not installed: put its file codeformer\.pth into"):
        Store([tmp_path]).find("codeformer")
    with pytest.raises(ModelFileError, match=r"model whatever is not known; Installed: lite"):
        Store([tmp_path]).find("whatever")


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    assert default_models_folder() == tmp_path
    monkeypatch.delenv(ENVIRONMENT)
    assert default_models_folder().name == "models"
