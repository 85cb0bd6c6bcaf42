"""The WebUI's own "Restore faces" with our restorers."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from lib_facerestore.webui import face_restorers, infotext, service

from .double import Host
from .generation.helpers import arrays, equal, keys
from .helpers import Known, photo, without_face

FIRST = "auto (Face Restore)"
SMALL = "small.safetensors (Face Restore)"


@pytest.fixture
def listed(known: Known, monkeypatch: pytest.MonkeyPatch) -> list[service.ModelChoice]:
    choices = [
        service.ModelChoice("auto", "auto (lite)", frozenset(), True, "lite"),
        service.ModelChoice("gfpgan-1.4", "gfpgan-1.4", frozenset(), True, "gfpgan"),
        service.ModelChoice("other", "other", frozenset(), True, "", fault="needs the package onnxruntime"),
        service.ModelChoice("small.safetensors", "small.safetensors", frozenset(), True, "lite"),
    ]
    monkeypatch.setattr(service, "models", lambda: choices)
    return choices


def names() -> list[str]:
    from modules import shared

    return [str(entry.name()) for entry in shared.face_restorers]


def test_every_usable_model_is_registered_once(host: Host, listed: Any) -> None:
    expected = ["CodeFormer", "GFPGAN", FIRST, "gfpgan-1.4 (Face Restore)", SMALL]
    for _ in range(3):
        face_restorers.register()
        assert names() == expected
    face_restorers.unregister()
    assert names() == expected[:2]


def test_the_setting_takes_them_away(host: Host, listed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib_facerestore.webui import settings

    face_restorers.register()
    off = dataclasses.replace(settings.Settings(), in_restorers=False)
    monkeypatch.setattr(settings, "read", lambda values=None: off)
    face_restorers.register()
    assert names() == ["CodeFormer", "GFPGAN"]


@pytest.mark.parametrize("host", ["sdnext"], indirect=True)
def test_sdnext_has_no_list(host: Host, listed: Any) -> None:
    before = dict(vars(host.shared))
    face_restorers.register()
    face_restorers.unregister()
    assert vars(host.shared) == before and "face_restorers" not in before


def test_no_name_is_taken_twice(host: Host) -> None:
    from lib_facerestore.catalogue.entries import known_models

    listed = [face_restorers.title_of(entry.id) for entry in known_models()]
    made = {str(name) for name in listed}
    assert made == {f"{entry.id} (Face Restore)" for entry in known_models()}
    former = {name.former for name in listed}
    assert {"GFPGAN 1.4 (Face Restore)", "RestoreFormer++ (Face Restore)"} <= former
    assert len(made | former) == len(made) + len(former) == 2 * len(listed)


OLD = "GFPGAN 1.4 (Face Restore)"


@pytest.mark.parametrize("host", ["a1111", "forge"], indirect=True)
def test_a_former_name_in_the_settings_a_request_or_a_program_still_works(
    host: Host, listed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """config.json may hold it, and so may `override_settings` of a request, which come from an infotext too."""
    restored: list[str] = []

    def restore(images: Any, options: Any, **_: Any) -> Any:
        restored.append(options.model)
        raise RuntimeError("no need to")

    monkeypatch.setattr(service, "restore", restore)
    host.start()
    host.shared.opts.data["face_restoration_model"] = OLD  # as it was read
    face_restorers.register()
    assert host.shared.opts.face_restoration_model == "gfpgan-1.4 (Face Restore)"
    assert host.shared.opts.face_restoration_model in names(), "or else the page would show none as chosen"
    for name in (OLD, "gfpgan-1.4 (Face Restore)", "Auto (Face Restore)", "CodeFormer"):
        host.set_opts(face_restoration_model=name)
        host.modules.face_restoration.restore_faces(photo())
    assert restored == ["gfpgan-1.4", "gfpgan-1.4", "auto"]
    face_restorers.register()
    assert host.shared.opts.face_restoration_model == "CodeFormer"
    for kept in ("GFPGAN 1.3 (Face Restore)", "", 7, None):  # of a model that is not here; nonsense
        host.shared.opts.data["face_restoration_model"] = kept
        face_restorers.register()
        assert host.shared.opts.data["face_restoration_model"] == kept


def test_a_listed_name_is_text_like_any_other() -> None:
    name = face_restorers.title_of("gfpgan-1.4")
    assert json.dumps([name]) == '["gfpgan-1.4 (Face Restore)"]' and copy.deepcopy(name).former == OLD
    same: list[object] = [OLD, "gfpgan-1.4 (Face Restore)"]
    for one in same:
        assert (name == one, one == name, name != one, one != name) == (True, True, False, False)
    for one in ("GFPGAN", 3, None):
        assert (name == one, one == name, name != one, one != name) == (False, False, True, True)
    assert name in {"gfpgan-1.4 (Face Restore)": 1}


@pytest.mark.parametrize("host", ["a1111", "forge"], indirect=True)
def test_the_api_restores_and_the_infotext_names_what_ran(host: Host, known: Known, listed: Any) -> None:
    host.start()
    face_restorers.register()
    host.set_opts(face_restoration_model=SMALL)
    expected = known.restored(photo(), mask="parsing")
    done = host.api("txt2img", restore_faces=True, decoded=[photo(), without_face()], batch_size=2)
    assert equal(arrays(done)[0], expected) and equal(arrays(done)[1], without_face())
    first, second = (keys(text) for text in done.infotexts[done.index_of_first_image :])
    assert first == {"Face restoration": SMALL, "Face restoration result": "small.safetensors, 2 restored"}
    assert second["Face restoration result"] == "small.safetensors, no face was found"
    plain = host.api("txt2img", decoded=[photo()])
    assert keys(plain.infotexts[0]) == {} and equal(plain.images[0], photo())
    assert infotext.pasted("enabled", first) is False


def test_it_takes_and_gives_uint8_rgb_and_leaves_the_input(host: Host, known: Known, listed: Any) -> None:
    face_restorers.register()
    from modules import shared

    entry = next(entry for entry in shared.face_restorers if entry.name() == SMALL)
    given = photo()[:, ::-1]  # not contiguous
    kept = given.copy()
    made = entry.restore(given)
    assert made.dtype == np.uint8 and made.shape == given.shape and made.flags["C_CONTIGUOUS"]
    assert equal(given, kept) and not equal(made, kept)


@pytest.mark.parametrize("given", [photo(), np.zeros((3, 3), np.float64), None])
def test_nothing_is_ever_raised(host: Host, known: Known, given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*a: Any, **k: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr(service, "restore", broken)
    assert face_restorers.restore_picture(given, "auto") is given
    assert any("no memory" in text for text in host.shared.state.texts)
    assert "no memory" in face_restorers.take_summary() and face_restorers.take_summary() == ""


def test_a_network_that_fails_is_told(host: Host, known: Known) -> None:
    def fail() -> None:
        raise RuntimeError("no kernel")

    known.before = fail
    given = photo()
    assert face_restorers.restore_picture(given, "small.safetensors") is given
    told = "small.safetensors failed (RuntimeError: no kernel)"
    assert any(told in text for text in host.shared.state.texts) and told in face_restorers.take_summary()


def test_a_message_that_cannot_be_shown_does_not_fail_the_job(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        interrupted = skipped = False

        @property
        def textinfo(self) -> str:
            return ""

    def broken(*a: Any, **k: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr(service, "restore", broken)
    monkeypatch.setattr(host.shared, "state", Closed())
    given = photo()
    assert face_restorers.restore_picture(given, "auto") is given


def test_an_interrupted_job_is_left_alone(host: Host, known: Known) -> None:
    host.shared.state.interrupt()
    given = photo()
    assert face_restorers.restore_picture(given, "small.safetensors") is given
    assert known.batches == [] and face_restorers.take_summary() == ""


def test_a_restore_of_somebody_else_is_not_told(host: Host, known: Known, listed: Any) -> None:
    """Other extensions take our entries from the list and use them themselves."""
    host.start()
    face_restorers.register()
    face_restorers.restore_picture(photo(), "small.safetensors")
    done = host.run("txt2img", decoded=[photo()])
    assert keys(done.infotexts[0]) == {}
