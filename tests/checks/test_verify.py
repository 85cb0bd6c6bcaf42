"""The checks of one model file: its family, the files beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_facerestore.bench.public_networks import dfdnet_dictionaries
from lib_facerestore.catalogue import known_model
from lib_facerestore.checks import verify

from ..conftest import narrow_dfdnet


def test_a_file_of_another_family_under_an_id_fails(models: Path) -> None:
    codeformer = known_model("codeformer")
    checks = verify.verify(models / "small.safetensors", codeformer)
    assert "codeformer is of family codeformer, 512 pixels; this file is something else" in checks[-1].detail
    assert checks[-1].status == "failed"


@pytest.mark.usefixtures("narrow_original")
def test_dfdnet_is_compared_with_the_dictionaries_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save(narrow_dfdnet().state_dict(), path)
    lacking, check = verify.verify(path, None, against_reference=True)[-2:]
    assert lacking.status == "failed" and "16 of 16 dictionaries are missing" in lacking.detail
    assert check.status == "skipped" and "needs the dictionaries" in check.detail
    for name, entries in dfdnet_dictionaries((8, 16, 32, 32), 3).items():
        np.save(tmp_path / name, entries.numpy())
    check = verify.verify(path, None, against_reference=True)[-1]
    assert check.status == "ok" and check.detail.startswith("basicsr"), check.detail
