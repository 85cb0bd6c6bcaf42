"""What a scan reads and remembers, what of it can be used, and what is left where small packages are missing."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib_facerestore import load_network
from lib_facerestore.catalogue import Store, fingerprints, inventory_of, known_model, known_models, misfit_state, peek
from lib_facerestore.checks.doctor import examine
from lib_facerestore.cli.arguments import existing_folder
from lib_facerestore.errors import FaceRestoreError, ModelFileError, OptionError, UnreadableFileError
from lib_facerestore.networks.checkpoint_files import read_state
from lib_facerestore.wording import pip_install

from .test_catalogue import empty_file, onnx_file, shapes_of

SMALL_PACKAGES = ("platformdirs", "httpx", "filelock", "tqdm", "tifffile", "safetensors")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache") / "sha256.json"
    monkeypatch.setattr(fingerprints, "cache_file", lambda: cache)


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose heads are read, in order."""
    names: list[str] = []

    def sniff(path: Path) -> peek.Format:
        names.append(path.name)
        return peek.sniff_file(path)

    monkeypatch.setattr(fingerprints, "sniff_file", sniff)
    return names


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails


def test_a_model_as_json_has_what_the_command_line_and_the_api_show() -> None:
    for entry in known_models(None):
        row = entry.as_json()
        assert json.loads(json.dumps(row)) == row
        assert set(row) == {
            "id", "kind", "family", "size", "wanted", "bytes", "bytes_about", "knobs", "licence", "licence_note",
            "commercial", "good_for", "needs", "used", "downloadable", "page",
        }  # fmt: skip
    codeformer = known_model("codeformer")
    assert codeformer is not None
    row = codeformer.as_json()
    assert (row["kind"], row["size"], row["knobs"], row["commercial"]) == ("restorer", 512, ["fidelity"], "no")
    assert row["downloadable"] is True and row["needs"] is None and row["wanted"][0] == "codeformer.pth"


def test_a_scan_reads_a_file_once_until_it_changes(tmp_path: Path, heads: list[str]) -> None:
    path = empty_file(tmp_path / "a.safetensors", shapes_of("codeformer"))
    store = Store([tmp_path])
    first, second = store.scan(), store.scan()
    assert first.installed() == second.installed() and first.installed()["codeformer"] == path
    assert heads == ["a.safetensors"]
    before = path.stat()
    path.unlink()
    empty_file(path, shapes_of("codeformer") | {"more": (1,)})  # another file of that name
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "more" in fingerprints.look_into(path).shapes
    with open(path, "r+b") as file:  # the same file, of the same size
        content = file.read(200_000).replace(b'"more"', b'"moge"')
        file.seek(0)
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "moge" in fingerprints.look_into(path).shapes
    assert heads == ["a.safetensors"] * 3


def test_added_and_removed_files_are_seen_by_the_next_scan_only(tmp_path: Path) -> None:
    store = Store([tmp_path])
    empty = store.scan()
    path = empty_file(tmp_path / "sub" / "codeformer.pth", shapes_of("codeformer"))
    full = store.scan()
    path.unlink()
    assert list(empty.installed()) == ["lite"]
    assert list(full.installed()) == ["codeformer", "lite"]
    assert list(store.scan().installed()) == ["lite"]


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: list[str]) -> None:
    monkeypatch.setattr(fingerprints, "MOST_FILES", 3)
    monkeypatch.setattr(fingerprints, "_looks", fingerprints.OrderedDict())
    for number in range(5):
        fingerprints.look_into(onnx_file(tmp_path / f"{number}.onnx"))
    assert len(fingerprints._looks) == 3
    fingerprints.look_into(tmp_path / "4.onnx")
    fingerprints.look_into(tmp_path / "0.onnx")
    assert heads == [f"{number}.onnx" for number in (0, 1, 2, 3, 4, 0)]


def test_a_file_that_could_not_be_opened_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = empty_file(tmp_path / "a.safetensors", shapes_of("codeformer"))
    with monkeypatch.context() as locked:
        locked.setattr(peek, "_safetensors_shapes", lambda _: (_ for _ in ()).throw(PermissionError("locked")))
        with pytest.raises(UnreadableFileError, match=r"unreadable \(locked\); check its permissions"):
            fingerprints.look_into(path)
    assert "codeformer" in Store([tmp_path]).scan().installed()


def test_hashes_of_this_run_are_not_read_from_the_disk_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = empty_file(tmp_path / "GFPGANv1.4.pth", shapes_of("gfpgan-1.4"))
    digest = fingerprints.sha256_of(path)
    monkeypatch.setattr(fingerprints, "_stored_hashes", lambda: pytest.fail("read again"))
    assert fingerprints.sha256_of(path) == digest


def test_a_model_without_the_files_beside_it_is_installed_and_not_usable(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "DFDNet_dict.pth", shapes_of("dfdnet"))
    there = Store([tmp_path]).scan()
    assert there.installed()["dfdnet"] == path
    assert list(there.usable()) == ["lite"]
    fault = there.faults()["dfdnet"]
    assert fault.startswith(f"{path}: 16 of the 16 files that it needs are missing (")
    assert fault.count("_center.npy") == 3 and fault.endswith("put them beside it.")
    entry = known_model("dfdnet")
    assert entry is not None
    for name in entry.beside:
        (tmp_path / name).touch()
    there = Store([tmp_path]).scan()
    assert list(there.usable()) == ["dfdnet", "lite"] and there.faults() == {}


def test_a_model_whose_package_is_missing_is_not_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx_file(tmp_path / "gfpgan_1.4.onnx")
    monkeypatch.setattr("lib_facerestore.catalogue.inventory.package_is_there", lambda name: name != "onnxruntime")
    there = Store([tmp_path]).scan()
    assert "gfpgan-1.4-onnx" in there.installed() and "gfpgan-1.4-onnx" not in there.usable()
    assert f"`{pip_install('onnxruntime')}`" in there.faults()["gfpgan-1.4-onnx"]


def test_a_damaged_file_is_among_the_faults(tmp_path: Path) -> None:
    (tmp_path / "codeformer.pth").write_bytes(b"<!DOCTYPE html>")
    assert "it is a web page" in Store([tmp_path]).scan().faults()["codeformer"]


def test_an_inventory_of_no_folders_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_file(tmp_path / "codeformer.pth", shapes_of("codeformer"))
    monkeypatch.setenv("FACERESTORE_MODELS", str(tmp_path))
    assert inventory_of([]).files == () and list(Store().scan().installed()) == ["codeformer", "lite"]


def test_without_safetensors_such_files_are_there_and_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = empty_file(tmp_path / "codeformer.safetensors", shapes_of("codeformer"))
    with monkeypatch.context() as context:
        hide(context, "safetensors")
        there = Store([tmp_path]).scan()
        assert list(there.installed(None)) == ["lite"]
        assert [file.path for file in there.others()] == [path]
        assert f"`{pip_install('safetensors')}`" in there.faults().get("codeformer", there.others()[0].damaged)
    assert "codeformer" in Store([tmp_path]).scan().installed(), "seen once the package is there"


def test_what_may_not_be_looked_at_is_said_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may be read but not entered, and a link to a closed one beside others."""
    for name in ("GFPGAN", "Codeformer"):
        (tmp_path / name).mkdir()
    path = empty_file(tmp_path / "Codeformer" / "codeformer.safetensors", shapes_of("codeformer"))
    (tmp_path / "Codeformer" / "locked.pth").write_bytes(b"x")
    real = os.stat

    def locked(path: int | str | Path, *more: object, **named: object) -> os.stat_result:
        if str(path).endswith(("locked.pth", "GFPGAN")):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", locked)
    store = Store(webui=tmp_path)
    assert store.files() == [path, path.with_name("locked.pth")]
    assert store.folders == (tmp_path / "facerestore", tmp_path / "GFPGAN", tmp_path / "Codeformer")
    (unreadable,) = store.scan().others()
    assert unreadable.damaged == "unreadable (Permission denied); check its permissions and the disk."
    assert store.duplicates() == []
    with pytest.raises(argparse.ArgumentTypeError, match="is not a folder"):
        existing_folder(str(tmp_path / "GFPGAN"))
    assert examine(Store([tmp_path / "GFPGAN"]), "cpu")[-1].subject


def close(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """As if these folders could not be listed."""
    real = os.scandir

    def closed(path: str | Path = ".") -> object:
        if Path(path) in folders:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)


def test_closed_folders_are_said_and_missing_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shut, inner, webui = tmp_path / "shut", tmp_path / "open" / "inner", tmp_path / "webui"
    for folder in (shut, inner, webui):
        folder.mkdir(parents=True)
    close(monkeypatch, shut, inner, webui)
    there = Store([shut, inner.parent, tmp_path / "absent"], webui).scan()
    assert [sentence.partition(": ")[0] for sentence in there.closed] == [str(shut), str(inner), str(webui)]
    said = f"{shut}: cannot be opened (Permission denied), so its models are not seen; check its permissions."
    assert there.closed[0] == said
    with pytest.raises(ModelFileError, match=r"codeformer is not installed: .*shut: cannot be opened \(Permission"):
        there.find("codeformer")
    with pytest.raises(ModelFileError, match=r"mine\.pth is not known\. .*shut: cannot be opened \(Permission"):
        there.find("mine.pth")
    rows = [finding for finding in examine(Store([shut]), "cpu") if finding.status == "broken"]
    assert [(row.subject, row.remedy) for row in rows] == [("model folder", "check its permissions")]


@pytest.mark.skipif(os.name == "nt", reason="there, such a folder is one that is missing")
def test_a_folder_whose_name_is_too_long_is_said_and_disables_nothing(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "codeformer.pth", shapes_of("codeformer"))
    long = tmp_path / ("x" * 300)
    there = Store([long, tmp_path], webui=long).scan()
    assert list(there.installed()) == ["codeformer", "lite"] and there.installed()["codeformer"] == path
    said = "cannot be opened (File name too long), so its models are not seen; check its name."
    assert there.closed == tuple(f"{folder}: {said}" for folder in (long, long / "facerestore"))


def test_a_null_character_in_a_name_is_a_sentence(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "codeformer.pth", shapes_of("codeformer"))
    there = Store([Path("a\0b"), tmp_path]).scan()
    assert there.installed()["codeformer"] == path
    assert there.closed[0].endswith(
        "(there is a null character in its name), so its models are not seen; check its name."
    )
    with pytest.raises(ModelFileError, match="there is no such file"):
        load_network("a\0.pth")


def test_models_behind_links_are_found_once(tmp_path: Path) -> None:
    path = empty_file(tmp_path / "GFPGAN" / "mine.pth", shapes_of("codeformer"))
    own = tmp_path / "facerestore"
    own.mkdir()
    (own / "theirs").symlink_to(path.parent, target_is_directory=True)
    (own / "circle").symlink_to(own, target_is_directory=True)
    assert Store([own]).files() == [own / "theirs" / "mine.pth"]
    assert Store(webui=tmp_path).files() == [own / "theirs" / "mine.pth"]


def test_a_file_is_damaged_or_unreadable_or_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"hello")
    empty_file(tmp_path / "restoreformer.pth", shapes_of("gfpgan-1.4"))
    locked = empty_file(tmp_path / "codeformer.pth", shapes_of("codeformer"))
    real = peek.sniff_file

    def sniff(path: Path) -> peek.Format:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(fingerprints, "sniff_file", sniff)
    there = Store([tmp_path]).scan()
    states = {name: misfit_state(file) for name, file in there.misfits().items()}
    assert states == {"gfpgan-1.4": "damaged", "codeformer": "unreadable", "restoreformer": "another file"}
    for name, message in (
        ("gfpgan-1.4", r"GFPGANv1\.4\.pth: damaged, or not a checkpoint \(it has no format.*\); get it again"),
        ("codeformer", r"codeformer\.pth: unreadable \(Permission denied\); check its permissions"),
        ("restoreformer", r"restoreformer\.pth: is .*gfpgan-1\.4.*, in spite of its name"),
    ):
        with pytest.raises(ModelFileError, match=message):
            there.find(name)
    with pytest.raises(UnreadableFileError, match=r"unreadable \(Permission denied\)"):
        read_state(locked)
    found = {row.subject: row for row in examine(Store([tmp_path]), "cpu")}
    assert found["file of codeformer"].remedy == "check its permissions and the disk"
    assert "unreadable (Permission denied)" in found["file of codeformer"].detail


def test_without_platformdirs_a_folder_has_to_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    hide(monkeypatch, "platformdirs")
    monkeypatch.delenv("FACERESTORE_MODELS", raising=False)
    with pytest.raises(FaceRestoreError, match=r"platformdirs.*-m pip install platformdirs`.*FACERESTORE_MODELS"):
        Store()
    assert fingerprints.cache_file() is None
    path = tmp_path / "x.pth"
    path.write_bytes(b"x")
    assert fingerprints.sha256_of(path) == fingerprints.hash_file(path)  # without a place to keep it


def test_the_catalogue_needs_no_small_package(tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(b"hello")
    hidden = ", ".join(f"{name!r}: None" for name in SMALL_PACKAGES)
    code = (
        f"import sys; sys.modules.update({{{hidden}}})\n"
        "from pathlib import Path\n"
        "from lib_facerestore.catalogue import Store\n"
        f"print(list(Store([Path({str(tmp_path)!r})]).scan().installed()), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['lite'] False\n"


def test_a_store_can_refuse_paths(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, elsewhere = models / "small.safetensors", models.parent
    (elsewhere / "stray.pth").write_bytes(b"x")
    monkeypatch.chdir(elsewhere)
    closed, opened = (Store([models], paths=paths).scan() for paths in (False, True))
    assert closed.find("small.safetensors") == closed.find("small") == opened.find(str(file)) == file
    assert opened.find("stray.pth") == Path("stray.pth")
    for path in (str(file), "./stray.pth", "~/stray.pth", "C:stray.pth", "a\\stray.pth", "\0"):
        with pytest.raises(OptionError, match="is a path; give an id, or a file's name without its folder"):
            closed.find(path)
    with pytest.raises(ModelFileError, match=r"model stray\.pth is not known"):
        closed.find("stray.pth")
