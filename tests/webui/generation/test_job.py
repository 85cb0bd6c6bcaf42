"""What the Script keeps on a generation's `p`: whose job it is, and its lines."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import numpy as np
import pytest

from lib_facerestore.webui.generation.job import CELL, JOB, Done, clear_lines, forget, job_of, put_lines


class Uncopied:
    """What is large, or cannot be copied."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        raise AssertionError("it was copied")


class Processing:
    """What the Script needs of the WebUI's `p`."""

    def __init__(self) -> None:
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: list[str] = []

    def comment(self, text: str) -> None:
        self.comments.append(text)


def test_a_generation_has_one_job_and_a_copy_of_it_another() -> None:
    p = Processing()
    job = job_of(p, [True])
    assert job is not None and job_of(p, [True]) is job
    assert job_of(copy.copy(p), [True]) is not job
    assert job_of(p, [True, "lite"]) is not job


def test_another_generation_at_the_same_address_gets_a_job_of_its_own() -> None:
    """A number such as id(p) would be used again: plots make a copy of `p` for each cell, and let go of the last."""
    p = Processing()
    job, address, attributes = job_of(p, [True]), id(p), dict(vars(p))
    del p
    other = Processing()
    if id(other) != address:
        pytest.skip("this Python does not use the address again at once")
    vars(other).update(attributes)  # as those of a copy
    assert job_of(other, [True]) is not job


def test_a_job_does_not_keep_its_generation_alive() -> None:
    p = Processing()
    job = job_of(p, [True])
    assert job is not None and job.owner() is p
    del p
    gc.collect()
    assert job.owner() is None


def test_p_can_be_pickled_and_copied_while_a_job_hangs_on_it() -> None:
    p = Processing()
    setattr(p, CELL, {"enabled": True, "overrides": {2: {"skip": True}}})
    job = job_of(p, [True])
    assert job is not None
    picture = np.zeros((8, 8, 3), np.uint8)
    job.decoded, job.mask = {0: Done(picture, picture, None)}, Uncopied()
    put_lines(p, {"Face restore model": "lite"}, {"Face restore model": "lite, all"})
    copies: list[Processing] = [copy.deepcopy(p), pickle.loads(pickle.dumps(p))]
    for copied in copies:
        line = copied.extra_generation_params["Face restore model"]
        assert line == line() == "lite" and line(use_main_prompt=True) == "lite, all"
        own = job_of(copied, [True])
        assert own is not None and own is not job and own.owner() is copied and own.request == job.request
        clear_lines(copied)
        assert copied.extra_generation_params == {}
    assert job_of(p, [True]) is job and job.decoded


def test_the_cell_of_a_plot_counts_in_place_of_the_arguments() -> None:
    p = Processing()
    setattr(p, CELL, {"enabled": True, "model": "lite"})
    job = job_of(p, [False, "codeformer"])
    assert job is not None and job.request is not None and job.request.options.model == "lite"
    setattr(p, CELL, {"enabled": False})
    assert job_of(p, [True]) is None


def test_a_switch_that_cannot_be_understood_is_told() -> None:
    p = Processing()
    job = job_of(p, ["perhaps"])
    assert job is not None and job.request is None and "'perhaps' is not allowed" in job.problem
    assert p.comments == ["Face Restore: Enabled: 'perhaps' is not allowed; give true or false."], "by the page's label"
    assert job_of(Processing(), [0.0]) is None


def test_a_forgotten_job_is_made_anew() -> None:
    p = Processing()
    job = job_of(p, [True])
    forget(p)
    assert getattr(p, JOB) is None and job_of(p, [True]) is not job
    other = Processing()
    forget(other)
    assert JOB not in vars(other)


def test_lines_are_text_and_give_the_grid_a_text_of_its_own() -> None:
    p = Processing()
    p.extra_generation_params["Steps"] = 20
    put_lines(p, {"Face restore model": "lite", "Face restore visibility": 0.5}, {"Face restore model": "lite, all"})
    put_lines(p, {"Face restoration result": "none"}, group="restorer")
    model, visibility = (p.extra_generation_params[f"Face restore {name}"] for name in ("model", "visibility"))
    assert model == "lite" and visibility == "0.5"
    assert model(use_main_prompt=True, p=p) == "lite, all" and model(index=1) == "lite"
    assert visibility(use_main_prompt=True) is None and visibility() == "0.5"
    copied = copy.deepcopy(p.extra_generation_params)["Face restore model"]
    assert copied == "lite" and copied(use_main_prompt=True) == "lite, all"
    clear_lines(p, "run")
    assert list(p.extra_generation_params) == ["Steps", "Face restoration result"]
    clear_lines(p)
    assert list(p.extra_generation_params) == ["Steps"]
