"""The catalogue's data, what is recognised by name and by content, and what an id, a name or a path stands for."""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lib_facerestore.catalogue import (
    ENVIRONMENT,
    Kind,
    ModelFile,
    Store,
    default_models_folder,
    entries,
    fingerprints,
    identify,
    known_model,
    known_models,
    recognise,
    webui_folders,
)
from lib_facerestore.catalogue.peek import peek
from lib_facerestore.errors import ModelFileError
from lib_facerestore.stages import parsing
from lib_facerestore.stages.detection import FILES as DETECTOR_FILES
from lib_facerestore.stages.detection import find_files

DESIGN_IDS = {
    "gfpgan-1", "gfpgan-1.2", "gfpgan-1.3", "gfpgan-1.4", "codeformer", "gpen-256", "gpen-512", "gpen-1024",
    "gpen-2048", "restoreformer", "restoreformer++", "vqfr-1", "vqfr-2", "dfdnet", "lite",
}  # fmt: skip
SPECS = Path(__file__).parents[1] / "oracle" / "specs"
SPEC_OF = {
    "gfpgan-1": "GFPGANv1", "gfpgan-1.2": "GFPGANCleanv1-NoCE-C2", "gfpgan-1.3": "GFPGANv1.3",
    "gfpgan-1.4": "GFPGANv1.4", "codeformer": "codeformer", "gpen-256": "GPEN-BFR-256", "gpen-512": "GPEN-BFR-512",
    "gpen-1024": "GPEN-BFR-1024", "gpen-2048": "GPEN-BFR-2048", "restoreformer": "RestoreFormer",
    "restoreformer++": "RestoreFormer++", "vqfr-1": "VQFR_v1", "vqfr-2": "VQFR_v2", "dfdnet": "DFDNet",
    "retinaface-resnet50": "detection_Resnet50_Final", "retinaface-mobilenet": "detection_mobilenet0.25_Final",
    "bisenet": "parsing_bisenet", "parsenet": "parsing_parsenet", "realesrgan-x2plus": "RealESRGAN_x2plus",
    "realesrgan-x4plus": "RealESRGAN_x4plus", "realesr-general-x4v3": "realesr-general-x4v3",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache") / "sha256.json"
    monkeypatch.setattr(fingerprints, "cache_file", lambda: cache)


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    rows = json.loads((SPECS / f"{SPEC_OF[name]}.json").read_text("utf-8"))
    return {row[0]: tuple(row[1]) for row in rows}


def empty_file(path: Path, shapes: dict[str, tuple[int, ...]], prefix: str = "") -> Path:
    """A .safetensors file with these shapes whose numbers are a hole in the file, so that it takes no room."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * int(torch.Size(shape).numel())
        header[prefix + name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def test_every_promised_id_is_known_once_and_lite_comes_last_but_for_nothing() -> None:
    ids = [entry.id for entry in known_models()]
    assert set(ids) >= DESIGN_IDS
    everything = [entry.id for entry in known_models(None)]
    assert len(everything) == len(set(everything))
    assert ids[-1] == "lite"
    assert everything[: len(ids)] == ids
    assert {entry.kind for entry in known_models(None)} == {"restorer", "detector", "parser", "upscaler"}


def test_the_data_is_complete_and_plausible() -> None:
    names: dict[str, str] = {}
    for entry in known_models(None):
        assert entry.good_for.endswith(".") and len(entry.good_for) < 110, entry.id
        assert entry.licence and entry.licence_note, entry.id
        assert entry.commercial in ("yes", "no", "unclear")
        assert entry.id == "lite" or entry.published, entry.id
        assert entry.page or entry.id == "lite" or entry.published[0].urls, entry.id
        names_of_files = [file.name.lower() for file in entry.published]
        assert len(names_of_files) == len(set(names_of_files)), f"{entry.id}: a file that cannot be asked for by name"
        assert entry.id == "lite" or entry.bytes or entry.about or entry.needs == "onnxruntime" or not entry.used
        for file in entry.published:
            assert file.name in entry.files
            assert all(url.startswith("https://") and " " not in url for url in file.urls)
            assert file.sha256 == "" or (len(file.sha256) == 64 and set(file.sha256) <= set("0123456789abcdef"))
        for name in entry.files:
            assert names.setdefault(name.lower(), entry.id) == entry.id, f"{name} stands for two models"


def test_the_detectors_have_their_files_in_the_catalogue() -> None:
    for name, file in DETECTOR_FILES.items():
        assert (entry := known_model(name)) and entry.files[0] == file and entry.kind == "detector"


@pytest.mark.parametrize("name", sorted(SPEC_OF))
def test_tensors_tell_the_model(name: str) -> None:
    ids = {entry.id for entry in recognise(shapes_of(name))}
    assert ids == ({"gfpgan-1.2", "gfpgan-1.3", "gfpgan-1.4"} if name.startswith("gfpgan-1.") else {name})


def test_files_are_found_in_sub_folders_whatever_the_case(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "GFPGAN" / "gfpganV1.4.pth", shapes_of("gfpgan-1.4"))
    store = Store([tmp_path / "absent", tmp_path])
    assert store.scan().installed()["gfpgan-1.4"] == path
    assert list(store.scan().installed())[-1] == "lite"
    assert store.scan().find("GFPGAN-1.4") == path
    assert store.scan().find(path.name) == path
    assert store.scan().find(str(path)) == path
    assert store.scan().others() == []


def test_a_file_of_any_name_is_recognised_by_its_tensors(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "my favourite.safetensors", shapes_of("codeformer"))
    plus = empty_file(tmp_path / "plus.safetensors", shapes_of("restoreformer++"), "vqvae.")
    store = Store([tmp_path])
    installed = store.scan().installed()
    assert installed == {"codeformer": path, "restoreformer++": plus, "lite": installed["lite"]}
    assert store.scan().find("codeformer") == path
    assert identify(path).told_by == "tensors"


def test_the_usual_name_is_preferred_to_a_recognised_one(tmp_path: Path) -> None:
    empty_file(tmp_path / "a.safetensors", shapes_of("codeformer"))
    usual = empty_file(tmp_path / "codeformer.safetensors", shapes_of("codeformer"))
    assert Store([tmp_path]).scan().installed()["codeformer"] == usual
    assert [file.path for file in Store([tmp_path]).scan().others()] == [tmp_path / "a.safetensors"]


def test_tensors_contradict_a_name(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "codeformer.safetensors", shapes_of("gpen-512"))
    assert Store([tmp_path]).scan().installed()["gpen-512"] == path
    assert "codeformer" not in Store([tmp_path]).scan().installed()


def test_what_shapes_cannot_tell_is_left_open(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "own.safetensors", shapes_of("gfpgan-1.4"))
    assert list(Store([tmp_path]).scan().installed()) == ["lite"]
    assert [entry.id for entry in identify(path).models] == ["gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2"]
    assert Store([tmp_path]).scan().find("own") == path
    discriminator = empty_file(tmp_path / "GPEN-BFR-512-D.pth", {"convs.0.weight": (3, 3)})
    assert "discriminator" in identify(discriminator).remark


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("GFPGANv1.4.pth", b"", "it is empty"),
        ("GFPGANv1.4.pth", b"hello\n", "no format of model files"),
        ("codeformer.pth", b"<!DOCTYPE html><title>Sign in</title>", "it is a web page"),
        ("gfpgan_1.4.onnx", b"\x08\x07\x12\x03x", "damaged"),
        ("gfpgan_1.4.onnx", b"\x08\x07", "damaged"),  # whole fields, and no graph
    ],
)
def test_what_cannot_be_read_is_damaged_whatever_its_name(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    store = Store([tmp_path])
    assert list(store.scan().installed(None)) == ["lite"]
    assert why in identify(path).damaged and identify(path).models == ()
    (id_,) = store.scan().misfits()
    with pytest.raises(ModelFileError, match=rf"model {id_}: .*{name}: "):
        store.scan().find(id_)


def onnx_file(path: Path, graph: int = 500) -> Path:
    """The outermost fields of an ONNX file: its version, who made it, its graph."""
    size = bytes([graph & 127 | 128, graph >> 7])
    path.write_bytes(b"\x08\x07\x12\x04test\x3a" + size + b"\0" * graph)
    return path


@pytest.mark.parametrize("way", ["zip", "pickle", "safetensors", "onnx"])
def test_a_file_that_was_cut_anywhere_is_damaged(tmp_path: Path, way: str) -> None:
    state = {"a": torch.zeros(3, 4), "b": torch.zeros(2, dtype=torch.float16), "c": torch.tensor(1)}
    whole = tmp_path / "whole"
    if way == "safetensors":
        safetensors.torch.save_file(state, whole)
    elif way == "onnx":
        onnx_file(whole)
    else:
        torch.save({"params": state}, whole, _use_new_zipfile_serialization=way == "zip")
    peek(whole)
    data = whole.read_bytes()
    for length in range(0, len(data), 1 if len(data) < 1000 else 7):
        cut = tmp_path / f"{length}.pth"
        cut.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            peek(cut)


def test_onnx_files_are_known_by_name_and_only_among_their_kind(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "gfpgan_1.4.onnx")
    onnx_file(tmp_path / "codeformer.pth")  # an ONNX file under the name of a checkpoint is none of ours
    empty_file(tmp_path / "gpen_bfr_512.onnx", shapes_of("restoreformer"))  # and the other way round
    store = Store([tmp_path])
    assert list(store.scan().installed()) == ["restoreformer", "gfpgan-1.4-onnx", "lite"]
    assert store.scan().installed()["gfpgan-1.4-onnx"] == path
    with pytest.raises(ModelFileError, match=r"gpen_bfr_512\.onnx: is restoreformer, in spite of its name"):
        store.scan().find("gpen-512-onnx")


@pytest.mark.parametrize(
    ("name", "twin", "kind"),
    [
        ("GPEN-Colorization-1024.pth", "gpen-1024", "restorer"),
        ("codeformer_inpainting.pth", "codeformer", "restorer"),
        ("realesr-general-wdn-x4v3.pth", "realesr-general-x4v3", "upscaler"),
    ],
)
def test_a_known_file_with_the_tensors_of_a_model_is_not_that_model(
    tmp_path: Path, name: str, twin: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = empty_file(tmp_path / name, shapes_of(twin))
    assert identify(path).models == () and identify(path).remark
    assert twin not in Store([tmp_path]).scan().installed(kind)
    assert [file.path for file in Store([tmp_path]).scan().others()] == [path]
    publish(monkeypatch, twin, path)  # the model itself under this name: its published hash overrules that
    assert [entry.id for entry in identify(path).models] == [twin]
    assert Store([tmp_path]).scan().installed(kind)[twin] == path


def publish(monkeypatch: pytest.MonkeyPatch, model: str, path: Path) -> None:
    """Let this file be the only one that is published for a model."""
    made = ModelFile(path.name, path.stat().st_size, fingerprints.hash_file(path))
    everything = tuple(
        replace(entry, published=(made,)) if entry.id == model else entry for entry in known_models(None)
    )
    monkeypatch.setattr(entries, "_all", lambda: everything)


def test_the_published_hash_overrules_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = empty_file(tmp_path / "GFPGANv1.4.pth", shapes_of("gfpgan-1.3"))
    assert list(Store([tmp_path]).scan().installed()) == ["gfpgan-1.4", "lite"]
    publish(monkeypatch, "gfpgan-1.3", path)
    assert Store([tmp_path]).scan().installed()["gfpgan-1.3"] == path
    with pytest.raises(ModelFileError, match=r"GFPGANv1\.4\.pth: is gfpgan-1\.3, in spite of its name"):
        Store([tmp_path]).scan().find("gfpgan-1.4")


def test_detectors_parsers_and_upscalers_are_found_too(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "detector.safetensors", shapes_of("retinaface-resnet50"), "module.")
    store = Store([tmp_path])
    assert store.scan().installed("detector") == {"retinaface-resnet50": path}
    assert store.scan().find("retinaface-resnet50", "detector") == path
    assert find_files([tmp_path]) == {"retinaface-resnet50": path}
    with pytest.raises(ModelFileError, match="retinaface-resnet50 is a detector, not a restorer"):
        store.scan().find("retinaface-resnet50")
    assert list(store.scan().installed()) == ["lite"]


@pytest.mark.parametrize(("spec", "file"), [("bisenet", "faceparser.pth"), ("bisenet", "79999_iter.pth")])
def test_a_parser_of_any_name_is_used(tmp_path: Path, spec: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(parsing, "load_parser", lambda path, _: asked.append(path))
    path = empty_file(tmp_path / "sub" / file, shapes_of(spec))
    parsing.create_parser([tmp_path])
    empty_file(tmp_path / "parsing_parsenet.pth", shapes_of("parsenet"))
    parsing.create_parser([tmp_path])
    assert asked == [path, path], "found by its tensors, and preferred to ParseNet"


def test_a_listing_of_hundreds_of_files_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        empty_file(tmp_path / f"{number}.safetensors", {"some.weight": (3, number + 1)})
    Store([tmp_path]).scan().installed(None)
    monkeypatch.setattr(fingerprints, "peek", lambda path, _: pytest.fail(f"{path} was read again"))
    store = Store([tmp_path])
    assert len(store.scan().others()) == 300 and store.scan().misfits(None) == {}
    assert list(store.scan().installed(None)) == ["lite"]


def test_a_webuis_folders_are_searched(tmp_path: Path) -> None:
    for name in ("GFPGAN", "codeformer", "facerestore_models", "Stable-diffusion"):
        (tmp_path / name).mkdir()
    empty_file(tmp_path / "GFPGAN" / "GFPGANv1.4.pth", shapes_of("gfpgan-1.4"))
    empty_file(tmp_path / "codeformer" / "codeformer-v0.1.0.pth", shapes_of("codeformer"))
    (tmp_path / "Stable-diffusion" / "GFPGANv1.3.pth").touch()
    store = Store(webui=tmp_path)
    assert store.folders[0] == tmp_path / "facerestore"
    assert set(store.scan().installed()) == {"gfpgan-1.4", "codeformer", "lite"}
    assert tmp_path / "facerestore_models" in webui_folders(tmp_path)
    own = Store([tmp_path / "mine"], webui=tmp_path)
    assert own.folders[0] == tmp_path / "mine" and set(own.scan().installed()) == set(store.scan().installed())


def test_duplicates_are_found_by_content(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "one.pth").write_bytes(b"x" * 5000)
    (tmp_path / "b" / "two.pth").write_bytes(b"x" * 5000)
    (tmp_path / "b" / "other.pth").write_bytes(b"y" * 5000)
    os.link(tmp_path / "a" / "one.pth", tmp_path / "c" / "link.pth")
    assert Store([tmp_path]).duplicates() == [[tmp_path / "a" / "one.pth", tmp_path / "b" / "two.pth"]]


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(b"one")
    first = fingerprints.sha256_of(path)
    monkeypatch.setattr(fingerprints, "hash_file", lambda *_: "read again")
    assert fingerprints.sha256_of(path) == first
    path.write_bytes(b"three")
    assert fingerprints.sha256_of(path) == "read again"


def test_a_file_of_the_same_size_and_time_is_another_one_in_a_later_run(tmp_path: Path) -> None:
    """As after a copy that keeps the time, or when the clock was put back."""
    path = tmp_path / "x.pth"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, ns=(10**18, 10**18))
        fingerprints._hashes.clear()
        assert fingerprints.sha256_of(path) == fingerprints.hash_file(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_peeking_gives_the_shapes_without_loading(tmp_path: Path, zipped: bool) -> None:
    state = {"a.weight": torch.zeros(3, 4), "b": torch.zeros(2, dtype=torch.float16), "c": torch.tensor(1)}
    state["p"] = torch.nn.Parameter(torch.zeros(5))
    content = {"params_ema": state, "note": {"lr": 1e-4}}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    peeked = peek(tmp_path / "x.pth")
    assert peeked.shapes == {name: tuple(value.shape) for name, value in state.items()}
    assert peeked.asks_for == ()
    safetensors.torch.save_file({"a": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    assert peek(tmp_path / "x.safetensors").shapes == {"a": (2, 2)}


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("the pickle ran",))


class _State:
    """Asks for a class of ours, and for its attributes to be set."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.path.join, ("a",), {"x": 1}, iter([1]), iter([("k", 2)]))


def test_peeking_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"params": {"a": torch.zeros(2)}, "x": _Code(), "y": _State()}
    torch.save(content, tmp_path / "x.pth")
    peeked = peek(tmp_path / "x.pth")
    assert peeked.shapes == {"a": (2,)}
    assert any("print" in name for name in peeked.asks_for)
    (tmp_path / "y.pth").write_bytes(pickle.dumps([_Code(), _State()], protocol=2))
    assert peek(tmp_path / "y.pth").shapes == {}
    assert "the pickle ran" not in capsys.readouterr().out
    (tmp_path / "z.pth").write_bytes(b"\x80\x02garbage")
    with pytest.raises(ModelFileError, match=r"z\.pth: (not a checkpoint|damaged)"):
        peek(tmp_path / "z.pth")


def test_what_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"codeformer is not installed: put its file codeformer\.pth into"):
        Store([tmp_path]).scan().find("codeformer")
    with pytest.raises(ModelFileError, match=r"model whatever is not known\. Installed: lite"):
        Store([tmp_path]).scan().find("whatever")
    with pytest.raises(ModelFileError, match=r"model whatever is not known\. Installed: none\."):
        Store([tmp_path]).scan().find("whatever", "upscaler")
    with pytest.raises(ModelFileError, match=r"model x+ is not known"):
        Store([tmp_path]).scan().find("x" * 5000)
    with pytest.raises(ModelFileError, match="model lite is a restorer, not an upscaler"):
        Store([tmp_path]).scan().find("lite", "upscaler")


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    assert default_models_folder() == tmp_path
    monkeypatch.delenv(ENVIRONMENT)
    assert default_models_folder().name == "models"
