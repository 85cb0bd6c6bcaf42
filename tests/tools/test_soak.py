"""The parts of `tools.soak` that have no process of their own: levels, injected faults, and one attempt."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from tools.soak import faults, folder
from tools.soak.checks import Checks, Level, check_levels
from tools.soak.injected import at_call, at_network, at_reading, raising
from tools.soak.pictures import make_folder


def test_a_process_that_grows_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    checks = Checks()
    check_levels(checks, "level", [Level(100 + (n < 20) * n, 5, 2) for n in range(100)])
    assert checks.code() == 0
    check_levels(checks, "growing", [Level(100 + n // 4, 5 + n // 50, 2) for n in range(100)])
    assert checks.code() == 1
    assert checks.failed == ["growing: memory within 5 %", "growing: handles level"]
    assert "did not hold: growing: memory within 5 %; growing: handles level" in capsys.readouterr().out


def test_networks_fail_where_they_are_told_to() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.ReLU())
    picture = torch.ones(1, 3, 2, 2)
    with at_network(1, None) as counted:
        assert [bool(network(picture).isnan().all()) for _ in range(3)] == [False, True, False]
    assert counted.count == 3 and not network(picture).isnan().any()
    with at_network(0, raising(MemoryError())), pytest.raises(MemoryError):
        network(picture)


def test_functions_and_reads_fail_where_they_are_told_to(tmp_path: Path) -> None:
    from lib_facerestore.wording import with_article

    with at_call(1, raising(MemoryError())):
        assert with_article("apple") == "an apple"
        with pytest.raises(MemoryError):
            with_article("apple")
    file = tmp_path / "a"
    file.write_bytes(b"x")
    for opens in (True, False):
        with at_reading(tmp_path, 0, opens):
            with pytest.raises(OSError, match="Input/output error"):
                file.read_bytes()
            assert file.read_bytes() == b"x"


def test_the_folder_has_many_formats_and_the_same_ones_for_a_seed(tmp_path: Path) -> None:
    made = [folder.hashes(make_folder(tmp_path / name, 40, 1)) for name in "ab"]
    assert made[0] == made[1] and 30 <= len(made[0]) <= 40
    assert len({Path(name).suffix for name in made[0]}) == 8


def test_a_network_that_gives_nan_is_told_and_the_next_run_is_right(tmp_path: Path) -> None:
    job = faults.Job(tmp_path, 1, ("a.png",))
    assert job.attempt("NaN", partial(at_network, 0, None))
    assert job.attempt("memory", partial(at_network, 0, raising(MemoryError())))
