"""The shared restorer: made from the settings, one for all; models to choose from; the last run."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import safetensors.torch

from lib_facerestore import InputError, ModelFileError, OptionError, Options
from lib_facerestore.catalogue import known_model
from lib_facerestore.webui import face_restorers, runs, service
from lib_facerestore.webui.page import model_notes
from lib_facerestore.webui.service import RunPicture
from lib_facerestore.wording import pip_install

from ..catalogue.test_catalogue import empty_file, shapes_of
from ..conftest import KnownFaces, small_lite
from .double import Host


@pytest.fixture
def small(host: Host) -> Path:
    """A small restorer of random weights in the WebUI's own model folder."""
    folder = host.root / "models" / "facerestore"
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(small_lite().state_dict(), folder / "small.safetensors")
    service.reset()
    return folder / "small.safetensors"


def known(monkeypatch: pytest.MonkeyPatch, *places: tuple[float, float, float]) -> None:
    monkeypatch.setattr(service.restorer().loaded, "own_detector", KnownFaces(*places))


def test_models_are_listed_auto_first_and_the_built_in_one_last(host: Host, small: Path) -> None:
    assert [choice.id for choice in service.models()] == ["auto", "small.safetensors", "lite"]
    assert [choice.label for choice in service.models()[:2]] == ["auto (lite)", "small.safetensors (lite)"]


def test_a_file_that_was_added_is_seen(host: Host, small: Path) -> None:
    before = service.models()
    assert service.models() == before
    small.with_name("other.safetensors").write_bytes(small.read_bytes())
    assert "other.safetensors" in [choice.id for choice in service.models()]


def test_files_that_restore_nothing_are_not_offered(host: Host) -> None:
    folder = host.root / "models" / "facerestore"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inswapper_128.onnx").write_bytes(b"\x08\x07")
    (folder / "broken.pth").write_bytes(b"no checkpoint")
    (folder / "GFPGANv1.4.pth").write_bytes(b"no checkpoint under a model's name")
    (folder / "gfpgan_1.4.onnx").write_bytes(b"\x08\x07")
    (folder / "own.onnx").write_bytes(b"\x08\x07")
    assert [choice.id for choice in service.models()] == ["auto", "lite"]


def test_a_model_without_its_dictionaries_is_neither_auto_nor_a_face_restorer(host: Host) -> None:
    folder = host.root / "models" / "facerestore"
    folder.mkdir(parents=True, exist_ok=True)
    entry = known_model("dfdnet")
    assert entry is not None
    empty_file(folder / entry.files[0], shapes_of("dfdnet"))
    auto, dfdnet, lite = service.models()
    assert (auto.label, dfdnet.id, lite.id) == ("auto (lite)", "dfdnet", "lite")
    assert dfdnet.label == "dfdnet (cannot be used)" and "16 of the 16 files that it needs are missing" in dfdnet.fault
    assert model_notes.model_note("dfdnet") == f"dfdnet cannot be used: {dfdnet.fault}"
    face_restorers.register()
    names = [one.name() for one in host.shared.face_restorers]
    assert names == ["CodeFormer", "GFPGAN", "auto (Face Restore)", "lite (Face Restore)"]
    for name in entry.beside:
        (folder / name).touch()
    assert service.models()[0].label == "auto (dfdnet)" and service.models()[1].fault == ""
    face_restorers.register()
    assert "dfdnet (Face Restore)" in [one.name() for one in host.shared.face_restorers]


def test_knobs_of_models_that_are_not_installed_are_known(host: Host) -> None:
    assert service.knobs_of("codeformer") == {"fidelity"}
    assert service.knobs_of("gfpgan-1.4") == service.knobs_of("lite") == service.knobs_of("nosuch") == frozenset()


def test_one_restorer_is_shared_until_the_settings_change(host: Host) -> None:
    first = service.restorer()
    assert service.restorer() is first
    host.shared.cmd_opts.facerestore_models_path = str(host.root / "own")
    assert service.restorer() is not first
    assert service.restorer().store.folders[0] == host.root / "own"


def test_pictures_are_restored_with_the_bar_moving(
    host: Host, small: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, (60, 70, 60), (190, 100, 120))
    results = service.restore([photo, photo], Options(model="small"), [{}, {1: {"skip": True}}])
    assert [[report.applied for report in result.faces] for result in results] == [[True, True], [False, True]]
    texts = host.shared.state.texts
    later = texts[texts.index("Restoring faces 3/3") + 1 :]
    steps = ["Masking faces 1/3", "Masking faces 2/3", "Masking faces 3/3", "Putting faces back"]
    assert list(dict.fromkeys(later)) == steps and later.count("Putting faces back") >= 2


def test_an_interrupt_leaves_the_faces_alone(
    host: Host, small: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, (60, 70, 60))
    host.shared.state.interrupt()
    result = service.restore([photo], Options(model="small"))[0]
    assert np.array_equal(result.image, photo) and result.notes == ("stopped",)


def test_a_missing_model_is_to_be_had_in_the_tab(host: Host, small: Path, photo: np.ndarray) -> None:
    with pytest.raises(
        ModelFileError, match="/facerestore, get it in the tab Face Restore models, or choose model auto"
    ):
        service.restore([photo], Options(model="codeformer"))


def test_hints_name_the_tab_too(host: Host, small: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, (60, 70, 60))
    shared = service.restorer()
    fault = "no parser; get it with `facerestore models download bisenet`."
    monkeypatch.setattr(shared.loaded, "parser", lambda there: (None, fault))
    result = service.restore([photo], Options(model="small", fidelity=0.9))[0]
    assert result.hints == (
        "fidelity 0.9 has no effect: small has no such knob",
        "no parser; get it in the tab Face Restore models.",
    )


@pytest.mark.parametrize("unload", [False, True])
def test_networks_leave_the_device_where_the_settings_say_so(
    host: Host, small: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, unload: bool
) -> None:
    known(monkeypatch, (60, 70, 60))
    calls = []
    monkeypatch.setattr(service.restorer(), "unload", lambda: calls.append(1))
    host.set_opts(face_restoration_unload=unload)
    service.restore([photo], Options(model="small"))
    assert bool(calls) is unload
    service.detect(photo, Options())
    assert len(calls) == (2 if unload else 0)


def test_lists_are_given_while_a_picture_is_restored(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page asks for models and for the last run at any time; it must not wait for a long job."""
    with service._at_work:
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(len(service.models()) + len(service.last_run("x"))))
        thread.start()
        thread.join(10)
        assert answers == [2]


def test_the_last_run_is_kept_reduced_and_bounded(host: Host) -> None:
    large, of_extras = PIL.Image.new("RGB", (3072, 1000)), list(service.last_run("extras"))
    service.remember("txt2img", [RunPicture(large, large, ())])
    kept = service.last_run("txt2img")[0]
    assert kept.before.size == kept.after.size == (1536, 500) and kept.scale == 0.5
    tiny = RunPicture(PIL.Image.new("RGB", (8, 8)), PIL.Image.new("RGB", (8, 8)), ())
    service.remember("txt2img", [tiny] * 20, add=True)
    assert len(service.last_run("txt2img")) == runs.MOST_PICTURES
    service.remember("txt2img", [])
    assert service.last_run("txt2img") == [] and service.last_run("extras") == of_extras


def test_no_path_is_opened_inside_a_webui(host: Host, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    known(monkeypatch)
    assert service.restore([picture], Options(model="small"))[0].model == "small"
    with pytest.raises(OptionError, match=r"model: .* is a path; give an id, or a file's name without its folder"):
        service.restore([picture], Options(model=str(small)))
    with pytest.raises(OptionError, match="is a path"):
        service.restore([picture], Options(model="small"), [{1: {"model": str(small)}}])
    settings = service.Settings(default_model=str(small))
    monkeypatch.setattr(service, "read", lambda: settings)
    with pytest.raises(OptionError, match="is a path"):
        service.restore([picture], Options())
    assert "is a path; give an id" in model_notes.model_note(str(small))
    monkeypatch.chdir(small.parent)
    small.rename(host.root / "stray.safetensors")
    monkeypatch.chdir(host.root)
    with pytest.raises(ModelFileError, match=r"stray\.safetensors is not known"):
        service.restore([picture], Options(model="stray.safetensors"))


@pytest.mark.parametrize("kind", [ModelFileError, InputError])
def test_a_package_that_is_missing_asks_for_a_restart_of_the_webui(
    host: Host, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind(f"x.onnx: needs a package; install it with `{pip_install('onnxruntime')}`, or choose another model.")

    monkeypatch.setattr(service.restorer(), "restore_many", fail)
    with pytest.raises(kind, match=r"pip install onnxruntime`, then restart the WebUI, or choose another model\."):
        service.restore([], Options())
