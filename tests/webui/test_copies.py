"""Two folders with this extension in one WebUI: the first works as if it were alone, and says that there is another."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_facerestore.webui import copies, infotext

from .double import Host
from .double.extras import ScriptPostprocessing
from .double.host import EXTENSION
from .double.scripts import load_scripts
from .helpers import OPTIONS, Known, photo

pytest.importorskip("gradio")


@pytest.fixture(autouse=True)
def loaded_for_the_first_time() -> Iterator[None]:
    copies.forget()
    yield
    copies.forget()


class TwoCopies:
    """A host that loads the scripts of a second folder after ours."""

    def __init__(self, host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.ours, load = folder, True, host._load
        shutil.copytree(EXTENSION / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))

        def load_both(wanted: bool) -> None:
            load(wanted and self.ours)
            load_scripts(host, folder, ScriptPostprocessing)

        monkeypatch.setattr(host, "_load", load_both)


@pytest.fixture
def two(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TwoCopies:
    return TwoCopies(host, tmp_path / "sd webui.face-restore (dev)", monkeypatch)


def titles(host: Host) -> list[str]:
    return [script.title() for script in host.runners["txt2img"].alwayson_scripts]


def test_the_second_does_nothing_and_both_are_named(
    host: Host, two: TwoCopies, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        host.start()
    assert titles(host) == ["Face Restore"]
    assert len(host.modules.scripts.postprocessing_scripts_data) == len(
        {data.script_class for data in host.modules.scripts.postprocessing_scripts_data}
    )
    listed = host.modules.script_callbacks.callback_map
    assert len(listed["callbacks_before_ui"]) == 2 and len(listed["callbacks_app_started"]) == 2
    sentence = f"Face Restore is installed twice: {EXTENSION} is used, {two.folder} is not; remove one of them."
    assert copies.note() == sentence
    assert [record.getMessage() for record in caplog.records if "twice" in record.getMessage()] == [sentence]


def test_the_accordion_says_it(host: Host, two: TwoCopies) -> None:
    import gradio

    from lib_facerestore.webui.page import controls

    for said in (True, False):
        if said:
            host.start()
        else:
            copies.forget()
        with gradio.Blocks() as blocks:
            controls.build("txt2img")
        [line] = [block for block in blocks.blocks.values() if block.elem_id == "facerestore_txt2img_copies"]
        assert line.visible == said and (str(two.folder) in line.value) == said


def test_the_infotext_of_the_first_is_not_lost(host: Host, two: TwoCopies, known: Known) -> None:
    host.start()
    made = host.run("txt2img", {"Face Restore": [OPTIONS]}, decoded=[photo()])
    assert infotext.RESULT in made.infotexts[0]


def test_after_reload_ui_the_copy_that_is_left_works(host: Host, two: TwoCopies) -> None:
    host.start()
    two.ours = False  # the user has disabled it
    host.reload_ui()
    assert titles(host) == ["Face Restore"] and copies.note() == ""
    two.ours = True
    host.reload_ui()
    assert titles(host) == ["Face Restore"] and str(two.folder) in copies.note()


def test_one_copy_alone_says_nothing(host: Host) -> None:
    host.start()
    host.reload_ui()
    assert copies.note() == ""


def test_three_copies() -> None:
    assert [copies.is_first(f"/{name}/scripts/x.py") for name in "abcb"] == [True, False, False, False]
    told = f"Face Restore is installed 3 times: {Path('/a').absolute()} is used, "
    assert copies.note().startswith(told) and copies.note().endswith("are not; remove all but one.")
