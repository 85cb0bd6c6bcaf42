"""Which pictures a run reads: `find_pictures` searches the given files, folders and patterns."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..images import files as image_files
from ..system.walk import walk
from .earlier import recorded

UNREAD_KINDS: dict[str, tuple[str, ...]] = {
    "HEIC": (".heic", ".heif", ".hif"),
    "AVIF": (".avif", ".avifs"),
    "JPEG XL": (".jxl",),
    "JPEG 2000": (".jp2", ".j2k", ".jpx"),
    "Photoshop": (".psd", ".psb"),
    "camera raw": (
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef",
        ".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    ),
}  # fmt: skip
"""Kinds of pictures that cannot be read, with the extensions of their files. In folders they are counted, and said."""
_KIND_OF = {suffix: kind for kind, suffixes in UNREAD_KINDS.items() for suffix in suffixes}
VIDEO_EXTENSIONS = frozenset(
    {
        ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".f4v", ".mpg", ".mpeg", ".m2v",
        ".mts", ".m2ts", ".vob", ".ogv", ".3gp", ".3g2",
    }
)  # fmt: skip
"""Extensions of videos, whose faces are not restored. They too are counted, and said."""
_SHOWN = 3  # folders that a remark lists


@dataclass(frozen=True)
class Input:
    """A picture file that was given, or found in a given folder.

    Attributes:
        source: the file.
        relative: its path relative to the given folder; its name if the file itself was given.
        problem: why it cannot be used, or "".
    """

    source: Path
    relative: Path
    problem: str = ""


@dataclass(frozen=True)
class Found:
    """What `find_pictures` found.

    Attributes:
        pictures: the pictures, and what cannot be used, with its problem.
        remarks: sentences on what was passed over in folders, with the remedy.
    """

    pictures: tuple[Input, ...]
    remarks: tuple[str, ...] = ()


def find_pictures(inputs: Iterable[Path], output: Path | None = None) -> Found:
    """Find the picture files in a list of files, folders (with their sub-folders, also linked ones) and patterns.

    A file in the list is used with any extension. In folders, only files with a known picture extension are used.
    Hidden files and folders are skipped, and so are the folder `output` and results that earlier runs wrote into a
    sub-folder, so that results are not used as inputs. Inputs that do not exist, folders without pictures and folders
    that cannot be opened are listed with that problem.

    Raises:
        InputError: there is no usable picture.
    """
    found: list[Input] = []
    left = _Left()
    for path in expand(inputs):
        problem = ""
        try:
            if stat.S_ISDIR(os.stat(path).st_mode):
                found += _inside(path, output, left)
                continue
        except (FileNotFoundError, NotADirectoryError):
            problem = f"{path}: there is no such file or folder; check the path."
            if glob.has_magic(str(path)):
                problem = f"{path}: no file matches this pattern; check the folder and the extension."
        except OSError as error:
            problem = _cannot_be_opened(path, error)
        found.append(Input(path, Path(path.name), problem))
    if all(one.problem for one in found):
        raise InputError(found[0].problem if found else "there is no input; name a picture or a folder.")
    return Found(tuple(found), left.remarks())


def expand(inputs: Iterable[Path]) -> list[Path]:
    """The inputs, with the matches in place of each pattern such as `*.jpg`, which Windows' command line hands on.

    A pattern without matches stays, and so does a file's name that looks like a pattern. Hidden files do not match.
    """
    paths: list[Path] = []
    for path in map(Path, inputs):
        matches: Sequence[str] = ()
        if glob.has_magic(str(path)) and not os.path.lexists(path):
            matches = sorted(glob.glob(str(path), recursive=True))
        paths += [Path(match) for match in matches] or [path]
    return paths


@dataclass
class _Left:
    """What was passed over: files of unread kinds, videos, and the number of earlier results in each folder that lists
    them."""

    unread: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    results: Counter[Path] = field(default_factory=Counter)

    def add(self, other: _Left) -> None:
        self.unread += other.unread
        self.videos += other.videos
        self.results += other.results

    def remarks(self) -> tuple[str, ...]:
        return tuple(text for text in (self._unread(), self._videos(), self._results()) if text)

    def _unread(self) -> str:
        if not self.unread:
            return ""
        count = Counter(_KIND_OF[path.suffix.lower()] for path in self.unread)
        files, them = ("files were", "them") if len(self.unread) > 1 else ("file was", "it")
        what = f"{len(self.unread)} {next(iter(count))} {files} left out"
        if len(count) > 1:
            kinds = ", ".join(f"{number} {kind}" for kind, number in count.items())
            what = f"{len(self.unread)} files were left out ({kinds})"
        return f"{what}{_example(self.unread)}: such files cannot be read; convert {them} to JPEG, PNG or TIFF first."

    def _videos(self) -> str:
        if not self.videos:
            return ""
        what = f"{len(self.videos)} videos were" if len(self.videos) > 1 else "1 video was"
        what += f" left out{_example(self.videos)}"
        return f"{what}: videos cannot be restored; save the frames as pictures first."

    def _results(self) -> str:
        if not self.results:
            return ""
        number, folders = sum(self.results.values()), [str(folder) for folder in self.results]
        more = f" and {len(folders) - _SHOWN} more folders" if len(folders) > _SHOWN else ""
        what = f"{number} results of earlier runs were" if number > 1 else "1 result of an earlier run was"
        return (
            f"{what} left out, in {', '.join(folders[:_SHOWN])}{more}; to restore results again, name their folder as "
            "an input."
        )


def _inside(folder: Path, output: Path | None, left: _Left) -> list[Input]:
    """The pictures in a folder, sorted by path, and then the sub-folders that cannot be opened.

    What is passed over is added to `left`, or is the problem if there is nothing else.
    """
    result = os.path.realpath(output) if output else None
    closed: list[OSError] = []
    files: list[Path] = []
    unread: list[Path] = []
    videos: list[Path] = []
    earlier: dict[Path, Path] = {}  # the results of earlier runs, and the folder that lists each

    def enter(path: Path) -> bool:
        return not path.name.startswith(".") and (result is None or os.path.realpath(path) != result)

    for place, names in walk(folder, closed, enter):
        if place != folder:  # a folder that is named is wanted
            earlier |= dict.fromkeys(recorded(place), place)
        for path in (place / name for name in names if not name.startswith(".")):
            kind = _list_for(path, files, unread, videos)
            if kind is not None and _may_be_read(path):
                kind.append(path)
    here = _Left(sorted(unread), sorted(videos), Counter(earlier[path] for path in files if path in earlier))
    found = [Input(path, path.relative_to(folder)) for path in sorted(files) if path not in earlier]
    for error in closed:
        path = Path(error.filename or folder)
        found.append(Input(path, path.relative_to(folder), _cannot_be_opened(path, error)))
    if found:
        left.add(here)
        return found
    return [Input(folder, Path(folder.name), _nothing_in(folder, here))]


def _list_for(path: Path, files: list[Path], unread: list[Path], videos: list[Path]) -> list[Path] | None:
    """The list that a file of this name belongs to; None if it is of no interest."""
    if image_files.is_picture_file(path):
        return files
    suffix = path.suffix.lower()
    return unread if suffix in _KIND_OF else videos if suffix in VIDEO_EXTENSIONS else None


def _nothing_in(folder: Path, left: _Left) -> str:
    known = ", ".join(sorted(image_files.PICTURE_EXTENSIONS))
    why = " ".join(left.remarks()) or f"known extensions: {known}."
    return f"{folder}: the folder contains no picture that can be restored; {why}"


def _example(paths: Sequence[Path]) -> str:
    """The first of some files, as part of a sentence."""
    return f", such as {paths[0]}" if len(paths) > 1 else f", {paths[0]}"


def _may_be_read(path: Path) -> bool:
    """Whether the path is a file. True if that is unknown: reading the file then raises the error."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:  # a broken link
        return False
    except OSError:
        return True


def _cannot_be_opened(path: Path, error: OSError) -> str:
    return f"{path}: cannot be opened ({error.strerror or error}); check its permissions."
