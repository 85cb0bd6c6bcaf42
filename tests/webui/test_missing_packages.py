"""A start of the WebUI needs none of our small packages, and what cannot work without one says which and the remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lib_facerestore.webui import packages

from ..networks.archs.conftest import LONG
from .double.host import EXTENSION
from .test_install import run as run_installer

_EACH = (*(name for name in packages.SMALL if name != "tomli"), "psutil", "spandrel")
NEEDED = ("safetensors", "httpx", "filelock")
OTHERS = tuple(name for name in _EACH if name not in NEEDED)
"""Without these nothing of what is tried here differs, so they are missing together, but in the long tests."""
CASES = (*NEEDED, *(OTHERS if LONG else [",".join(OTHERS)]))
ALL = ",".join([*_EACH, "tomli"])
"""With tomli, as on Python 3.10: the catalogue cannot be read without it."""

_PROGRAM = """
import base64, collections, io, json, logging, os, sys
from pathlib import Path
import anyio._backends._asyncio, fastapi.testclient, gradio, numpy as np, PIL.Image, PIL.PngImagePlugin
from tests.webui.double import Host
from tests.webui.double.uiconfig import quick_blocks

PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)


def block(names):
    for name in list(sys.modules):
        if name.partition(".")[0] in names:
            del sys.modules[name]
    sys.modules.update(dict.fromkeys(names))
    if "tomli" in names:  # a Python that needs it: its own tomllib came with 3.11
        kind = collections.namedtuple("version_info", "major minor micro releaselevel serial")
        sys.version_info = kind(3, 10, 14, "final", 0)
        sys.modules["tomllib"] = None


def begin(host, again):
    said, answer = io.StringIO(), {"inputs": [], "tabs": 0}
    logging.basicConfig(stream=said, level=logging.WARNING)
    for start in (host.start, host.reload_ui) if again else (host.start,):
        start()
        with gradio.Blocks():
            answer["tabs"] += sum(len(one or ()) for one in host.modules.script_callbacks.fire("ui_tabs"))
        answer["inputs"].append(host.runners["txt2img"].find("Face Restore").args_to)
    settings = {key: row for key, row in host.shared.opts.data_labels.items() if key.startswith("facerestore_")}
    answer["settings"] = [row.component_args() for row in settings.values() if callable(row.component_args)]
    answer["restorers"] = [entry.name() for entry in host.shared.face_restorers]
    answer["errors"] = [line for line in said.getvalue().splitlines() if line.startswith("ERROR")]
    return answer


def use(host):
    from lib_facerestore.webui.downloads import manager
    from lib_facerestore.webui.page import model_notes, models_tab

    with gradio.Blocks() as blocks:
        models_tab.build()
    answer = {
        "note": model_notes.model_note("auto"),
        "tab": " ".join(str(getattr(block, "value", "")) for block in blocks.blocks.values()),
        "begin": models_tab.begin(manager(), "gfpgan-1.4", True),
    }
    done = host.run("txt2img", args={"Face Restore": [True]}, decoded=[PICTURE])
    answer["changed"], answer["comment"] = not np.array_equal(np.asarray(done.images[0]), PICTURE), done.comments
    file = io.BytesIO()
    PIL.Image.fromarray(PICTURE).save(file, "PNG")
    sent = {"image": base64.b64encode(file.getvalue()).decode()}
    with fastapi.testclient.TestClient(host.app, raise_server_exceptions=False) as page:
        for method, path, body in (
            ("GET", "health", None), ("GET", "options", None), ("GET", "models", None),
            ("POST", "detect", sent), ("POST", "restore", sent),
            ("POST", "models/gfpgan-1.4/download", {"accept_licence": True}),
        ):
            got = page.request(method, "/facerestore/v1/" + path, json=body)
            answer[path] = [got.status_code, got.json().get("detail", "")]
    return answer


def case(folder, names):
    block(names)
    host = Host(folder).install()
    with quick_blocks():
        answer = begin(host, again="tomli" in names) | use(host)
    (folder / "answer.json").write_text(json.dumps(answer | {"caught": [repr(error) for error in host.errors]}))


for number, names in enumerate(sys.argv[2:]):
    folder = Path(sys.argv[1], str(number))
    folder.mkdir()
    child = os.fork()  # each starts from here, so that gradio and torch are imported once
    if not child:
        case(folder, names.split(","))
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a start, the page, the API and a generation say where a package, or ALL of them, cannot be imported."""
    if not hasattr(os, "fork"):
        pytest.skip("the cases are forked")
    folder = tmp_path_factory.mktemp("missing")
    environment = {
        "PATH": "",
        "PYTHONPATH": str(EXTENSION),
        "FACERESTORE_OFFLINE": "1",
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    cases = [*CASES, ALL]
    command = [sys.executable, "-c", _PROGRAM, str(folder), *cases]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=EXTENSION, env=environment, check=False)
    made = {name: folder / str(number) / "answer.json" for number, name in enumerate(cases)}
    assert all(path.is_file() for path in made.values()), ended.stderr
    return {name: json.loads(path.read_text()) for name, path in made.items()}


def check_start(answer: dict[str, Any]) -> None:
    """The start, whatever is missing."""
    assert answer["caught"] == answer["errors"] == []
    assert min(answer["inputs"]) == max(answer["inputs"]) > 10 and answer["tabs"] == len(answer["inputs"])
    assert answer["settings"][0]["choices"][:1] == ["auto"]
    assert answer["health"][0] == answer["options"][0] == 200
    assert not answer["changed"]


@pytest.mark.parametrize("name", CASES)
def test_a_start_needs_no_small_package(answers: dict[str, dict[str, Any]], name: str) -> None:
    answer = answers[name]
    check_start(answer)
    assert "auto (Face Restore)" in answer["restorers"] and answer["models"][0] == 200
    if name == "safetensors":
        of_api = (answer["detect"][1], answer["restore"][1])  # an answer names no folder
        for text in (answer["note"], answer["comment"], *of_api):
            python = Path(sys.executable).name if text in of_api else sys.executable
            assert "package safetensors is missing" in text
            assert f"install it with `{python} -m pip install safetensors`, then restart the WebUI." in text
        assert answer["detect"][0] == answer["restore"][0] == 409
    else:
        assert answer["note"] == "auto is lite now." and answer["comment"] == ""
        assert answer["detect"][0] == answer["restore"][0] == 200
    downloads = [answer["begin"], answer["models/gfpgan-1.4/download"][1], answer["tab"]]
    if name in ("httpx", "filelock"):
        assert all(f"package {name} is missing" in text and f"pip install {name}" in text for text in downloads)
    else:
        assert "offline is set" in downloads[0] and "offline is set" in downloads[1]
    assert answer["models/gfpgan-1.4/download"][0] == 409


def test_a_start_needs_none_of_them_at_all(answers: dict[str, dict[str, Any]]) -> None:
    answer = answers[ALL]
    check_start(answer)
    texts = [answer["note"], answer["tab"], answer["begin"], answer["comment"]]
    texts += [answer[path][1] for path in ("models", "detect", "restore", "models/gfpgan-1.4/download")]
    assert [text for text in texts if "missing" not in text or "-m pip install " not in text] == []
    assert all(answer[path][0] == 409 for path in ("models", "detect", "restore"))
    assert answer["restorers"] == ["CodeFormer", "GFPGAN"]


def test_every_package_that_is_installed_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run_installer(monkeypatch, {"nothing"})["WANTED"]
    assert wanted == {name: [*options.split(), name] for name, options in packages.SMALL.items()}
    for name in packages.SMALL:
        explained = packages.explain(ModuleNotFoundError("none", name=f"{name}.part"))
        assert explained is not None
        assert f"pip install {' '.join(wanted[name])}`" in str(explained)


def test_an_import_error_of_something_else_is_not_explained() -> None:
    assert packages.explain(ImportError("none", name="torchvision.ops")) is None
    with pytest.raises(ImportError, match=r"^none$"), packages.needed():
        raise ImportError("none")
    assert packages.note("restore") == packages.note("list") == packages.note("download") == ""
