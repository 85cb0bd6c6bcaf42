"""docs/security.md names tests that exist, and the catalogue's files without a hash as they are."""

from __future__ import annotations

import re
from pathlib import Path

from lib_facerestore.catalogue import known_models
from tools.hash_constraints import pinned

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 15
    for file, name in named:
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), f"{file}::{name}"
    rows = [row for row in PAGE.splitlines() if row.startswith("| ")][2:]
    assert rows and all("`tests/" in row for row in rows)


def test_the_files_without_a_hash_are_named() -> None:
    files = [file for entry in known_models(None) for file in entry.published]
    without = {file.name for file in files if not file.sha256}
    assert set(re.findall(r"`([\w.+-]+\.(?:pth|onnx))`", PAGE)) == without
    assert f"{len(files) - len(without)} of the catalogue's {len(files)} published files" in " ".join(PAGE.split())


def test_the_hashes_are_those_of_the_constraints() -> None:
    rows = (ROOT / "constraints-hashes.txt").read_text("utf-8").splitlines()
    pins = dict(re.fullmatch(r"(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}", row).groups() for row in rows if row[0] != "#")  # type: ignore[union-attr, misc]
    for row in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        name, _, version = row.lower().partition("==")
        assert row.startswith("#") or pins.get(name, version) == version, row
    place = {"url": "https://files.pythonhosted.org/a.whl", "archive_info": {"hashes": {"sha256": "0" * 64}}}
    names = ("platform_system", "platform_machine", "implementation_name", "python_version")
    made = pinned({"install": [{"metadata": {"name": "A_b", "version": "1"}, "download_info": place}],
                   "environment": dict.fromkeys(names, "x")})  # fmt: skip
    assert made.splitlines()[-1] == f"a-b==1 --hash=sha256:{'0' * 64}"
