"""The rules of the house: who may import what, and that importing the package is cheap and safe."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lib_facerestore"


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_only_the_webui_room_imports_the_webui() -> None:
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] != "webui":
            assert "modules" not in imports(path), relative
            if relative.name != "page.py":
                assert "gradio" not in imports(path), relative


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, lib_facerestore; print(sorted({'torch', 'cv2', 'facexlib', 'gradio'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_public_names_are_there() -> None:
    import lib_facerestore

    for name in lib_facerestore.__all__:
        assert getattr(lib_facerestore, name) is not None
