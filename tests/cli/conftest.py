"""What the tests of the command line share; what it sets for its whole process is put back after each test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from lib_facerestore.catalogue import ModelEntry, ModelFile, fingerprints, known_models
from lib_facerestore.catalogue import download as downloads
from lib_facerestore.cli import main as cli
from lib_facerestore.stages import loaded_models

from ..catalogue.test_catalogue import shapes_of
from ..conftest import KnownFaces, small_lite

Run = Callable[..., int]
BISENET_LAST = ("conv_out.conv_out.weight", shapes_of("bisenet")["conv_out.conv_out.weight"])
"""With the first tensors of BiSeNet, enough to be taken for it; what lies between is missing."""


@pytest.fixture(autouse=True)
def _process_put_back(process_put_back: None) -> None:
    pass


@pytest.fixture
def run(models: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line with a detector that knows one face, and a small restorer."""
    monkeypatch.setattr(loaded_models, "create_detector", lambda *_: KnownFaces((100, 90, 90)))

    def run(*arguments: object) -> int:
        device = [] if arguments[:2] in (("models", "list"), ("models", "download")) else ["--device", "cpu"]
        return cli.main([str(argument) for argument in arguments] + ["--models", str(models), *device])

    return run


@pytest.fixture
def album(tmp_path: Path, photo: np.ndarray) -> Path:
    """Two good pictures (one in a sub-folder), one that is no picture, and a text file."""
    folder = tmp_path / "álbum 写真"
    (folder / "inner").mkdir(parents=True)
    Image.fromarray(photo).save(folder / "one.png")
    Image.fromarray(photo).save(folder / "inner" / "two.jpg", quality=90)
    (folder / "bad.png").write_bytes(b"not a picture")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def run_models(models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `models` of the command line on a model folder with one small restorer."""
    monkeypatch.setattr(fingerprints, "cache_file", lambda: tmp_path / "sha256.json")
    monkeypatch.delenv(downloads.OFFLINE, raising=False)
    monkeypatch.setenv("COLUMNS", "110")

    def run(*arguments: object) -> int:
        device = ["--device", "cpu"] if arguments[0] == "verify" else []
        return cli.main(["models", *(str(argument) for argument in arguments), "--models", str(models), *device])

    return run


@pytest.fixture
def known_net(monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    """`lite-like`, a model of the catalogue whose published file is a small restorer."""
    data = safetensors.torch.save(small_lite().state_dict())
    file = ModelFile("lite-like.safetensors", len(data), hashlib.sha256(data).hexdigest(), ("https://example.org/x",))
    entry = ModelEntry(
        "lite-like", 50, (file.name,), family="lite", size=256, licence="MIT", licence_note="Ours.", commercial="yes",
        good_for="Tests.", published=(file,), has=("lite_trunk.0.first.weight", "fold_half.weight"),
    )  # fmt: skip
    from lib_facerestore.catalogue import entries

    everything = (*known_models(None), entry)
    monkeypatch.setattr(entries, "_all", lambda: everything)
    return entry
