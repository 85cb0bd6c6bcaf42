"""The jobs that are interrupted: downloads, written pictures, imported models, a folder run, and remembered hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from lib_facerestore.batch.earlier import RECORD
from lib_facerestore.batch.folder import restore_files
from lib_facerestore.batch.plan import plan
from lib_facerestore.batch.search import find_pictures
from lib_facerestore.catalogue import ModelEntry, ModelFile, Store, fingerprints
from lib_facerestore.catalogue.download import download
from lib_facerestore.cli import model_import
from lib_facerestore.errors import DownloadError, FaceRestoreError, InputError
from lib_facerestore.images.files import from_array, read_picture, write_picture
from lib_facerestore.options.table import Options
from lib_facerestore.results import Result

from .file_server import FileServer, Place
from .interrupted import Job


def checkpoint(size: int, fill: bytes) -> bytes:
    """A PyTorch file of about this size; files of one size have the same length."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("net/data.pkl", pickle.dumps({}, 2))
        archive.writestr("net/data/0", fill * size)
    return out.getvalue()


def model(*urls: str, content: bytes, hashed: bool = True, sized: bool = True, name: str = "net.pth") -> ModelEntry:
    """A model whose only file has this content, and is published with its hash or size."""
    digest = hashlib.sha256(content).hexdigest() if hashed else ""
    file = ModelFile(name, len(content) if sized else 0, digest, urls)
    return ModelEntry("net", 1, (name,), licence="MIT", published=(file,))


def left_in(folder: Path, *wanted: str) -> str:
    """What is in a folder beside the wanted files and locks, as a fault."""
    more = sorted(path.name for path in folder.iterdir() if path.name not in wanted and path.suffix != ".lock")
    return f"{', '.join(more)} is never cleaned up" if more else ""


# --- downloads --------------------------------------------------------------------------------------------------------


def download_jobs(server: FileServer) -> list[Job]:
    """A new download with and without a hash; one whose file changes on the server; one begun with wrong bytes."""
    old, new = checkpoint(24_000, b"1"), checkpoint(24_000, b"2")
    return [
        _download("download, hash", server, new, "hashed"),
        _download("download, size only", server, new, "sized"),
        _download("download, neither", server, new, "neither"),
        _download("download, size only, changed meanwhile", server, new, "sized", earlier=old),
        _download("download, neither, changed meanwhile", server, new, "neither", earlier=old),
        _download("download, hash, begun with wrong bytes", server, new, "hashed", earlier=old),
    ]


def _download(name: str, server: FileServer, content: bytes, known: str, earlier: bytes = b"") -> Job:
    entry = model(server.url("a"), content=content, hashed=known == "hashed", sized=known != "neither")

    def serve(data: bytes, tag: str, *cuts: int | None) -> None:
        server.add("a", Place(data, etag=tag, cuts=list(cuts)))

    def prepare(folder: Path) -> None:
        if earlier:
            serve(earlier, '"old"', 9000, 200, 200, 200)
            try:
                download(entry, folder / "models")
            except DownloadError:
                return

    def run(folder: Path) -> None:
        serve(content, '"new"', 10_000, 12_000)
        download(entry, folder / "models")

    def again(folder: Path) -> None:
        serve(content, '"new"')
        download(entry, folder / "models")

    def whole(folder: Path, finished: bool) -> str:
        return whole_or_absent(folder / "models" / "net.pth", content, finished)

    def done(folder: Path) -> str:
        return whole(folder, True) or left_in(folder / "models", "net.pth")

    return Job(name, prepare, run, whole, again, done)


def whole_or_absent(path: Path, content: bytes, finished: bool) -> str:
    """What is wrong with a file that may be absent only if the work was not finished."""
    if not path.exists():
        return f"{path.name} is lost" if finished else ""
    found = path.read_bytes()
    return "" if found == content else f"{path.name} has {len(found)} bytes, not the right {len(content)}"


# --- written pictures, imported models, hashes ------------------------------------------------------------------------


def _shade(value: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    random = np.random.default_rng(value)
    return random.integers(0, 256, (40, 60, 3), np.uint8)


def write_jobs() -> list[Job]:
    """Pictures and models that are written, overwritten, copied and moved, with and without hard links."""
    jobs = [_picture(overwrite, links) for overwrite in (False, True) for links in (True, False)]
    jobs += [_import(move, links) for move in (False, True) for links in (True, False)]
    return [*jobs, _hashes()]


def _picture(overwrite: bool, links: bool) -> Job:
    def write(folder: Path) -> None:
        write_picture(from_array(_shade(2)), folder / "a.png", overwrite=overwrite)

    def prepare(folder: Path) -> None:
        if overwrite:
            write_picture(from_array(_shade(1)), folder / "a.png")

    def whole(folder: Path, finished: bool) -> str:
        if not (folder / "a.png").exists():
            return "the picture is lost" if finished or overwrite else ""
        allowed = (2,) if finished or not overwrite else (1, 2)
        found = _pixels(folder / "a.png")
        return "" if any(np.array_equal(found, _shade(one)) for one in allowed) else "the picture is not whole"

    def again(folder: Path) -> None:
        if overwrite or not (folder / "a.png").exists():
            write(folder)
        else:
            write_picture(from_array(_shade(3)), folder / "b.png")

    def done(folder: Path) -> str:
        return whole(folder, True) or left_in(folder, "a.png", "b.png")

    name = f"picture, {'overwritten' if overwrite else 'new'}{'' if links else ', no hard links'}"
    return Job(name, prepare, write, whole, again, done, links)


def _pixels(path: Path) -> Any:
    try:
        return read_picture(path).pixels
    except InputError:
        return None


def _import(move: bool, links: bool) -> Job:
    content = checkpoint(20_000, b"3")

    def prepare(folder: Path) -> None:
        (folder / "home").mkdir()
        (folder / "home" / "own.pth").write_bytes(content)

    def run(folder: Path) -> None:
        source = folder / "home" / "own.pth"
        if source.exists() or not (folder / "models" / "own.pth").exists():
            with mock.patch.object(model_import, "_check_usable"):
                model_import.import_file(source, Store([folder / "models"]), move)

    def whole(folder: Path, finished: bool) -> str:
        places = [folder / "home" / "own.pth", folder / "models" / "own.pth"]
        found = [whole_or_absent(place, content, False) for place in places if place.exists()]
        if not found:
            return "the user's file is lost"
        if finished and not places[1].exists():
            return "the imported file is lost"
        return next((fault for fault in found if fault), "")

    def done(folder: Path) -> str:
        if move == (folder / "home" / "own.pth").exists():
            return "the user's file was not moved" if move else "the user's file is gone"
        return whole(folder, True) or left_in(folder / "models", "own.pth")

    name = f"model, {'moved' if move else 'copied'}{'' if links else ', no hard links'}"
    return Job(name, prepare, run, whole, run, done, links)


def _hashes() -> Job:
    def remember(name: str) -> Callable[[Path], None]:
        def run(folder: Path) -> None:
            (folder.parent / name).write_bytes(name.encode())
            fingerprints._hashes.clear()
            with mock.patch.object(fingerprints, "cache_file", return_value=folder / "cache" / "sha256.json"):
                fingerprints.sha256_of(folder.parent / name)

        return run

    def whole(folder: Path, _: bool) -> str:
        file = folder / "cache" / "sha256.json"
        try:
            return "" if not file.exists() or json.loads(file.read_bytes()) else "the list is empty"
        except ValueError:
            return "the list is not whole"

    def done(folder: Path) -> str:
        return whole(folder, True) or left_in(folder / "cache", "sha256.json")

    return Job("hashes of earlier runs", remember("one"), remember("two"), whole, remember("three"), done)


# --- a folder run with --skip-existing --------------------------------------------------------------------------------

NAMES = ("a.png", "sub/b.png", "sub/#c.png")


class Inverting:
    """In place of a restorer: the result of each picture is its negative."""

    def restore_many(self, pictures: Sequence[Any], *_: object, **__: object) -> Iterator[Result[Any]]:
        """The results, in order."""
        for picture in pictures:
            changed = dataclasses.replace(picture, pixels=255 - picture.pixels)
            yield Result(changed, [], "net", (), {})


def run_folder(folder: Path) -> None:
    """Restore the pictures of `folder` into its sub-folder `out` with --skip-existing.

    Raises FaceRestoreError if one failed.
    """
    restorer: Any = Inverting()
    tasks = plan([folder], folder / "out").tasks
    for outcome in restore_files(restorer, tasks, Options(), skip_existing=True):
        if outcome.error:
            raise FaceRestoreError(outcome.error)


def fill_folder(folder: Path) -> None:
    """Three pictures, and results of an earlier run of one of them."""
    (folder / "sub").mkdir()
    for number, name in enumerate(NAMES):
        write_picture(from_array(_shade(number)), folder / name)


def folder_results(folder: Path, finished: bool) -> str:
    """What is wrong with the results of `run_folder`."""
    for number, name in enumerate(NAMES):
        if not np.array_equal(_pixels(folder / name), _shade(number)):
            return f"the input {name} has changed"
        result = folder / "out" / name
        if not result.exists():
            if finished:
                return f"the result of {name} is lost"
        elif not np.array_equal(_pixels(result), 255 - _shade(number)):
            return f"the result of {name} is not whole"
    taken = [one.source.relative_to(folder).as_posix() for one in find_pictures([folder], folder / "other").pictures]
    return "" if sorted(taken) == sorted(NAMES) else f"a later run would take {', '.join(taken)}"


def folder_job(links: bool = True) -> Job:
    """A folder run whose results go into the input folder, so that they are listed."""

    def done(folder: Path) -> str:
        fault = folder_results(folder, True)
        fault = fault or left_in(folder / "out", "a.png", "sub", RECORD)
        return fault or left_in(folder / "out" / "sub", "b.png", "#c.png")

    name = f"folder run, results listed{'' if links else ', no hard links'}"
    return Job(name, fill_folder, run_folder, folder_results, run_folder, done, links)
