"""Options given on the command line are the options that are used; what is said of names that no file can have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given

from lib_facerestore.cli import main as cli
from lib_facerestore.cli.arguments import options_of
from lib_facerestore.cli.main import build_parser
from lib_facerestore.options.table import Options

from ..options.test_table import settings

PARSER = build_parser()


@given(settings())
def test_options_survive_the_command_line(options: Options) -> None:
    for spelt in (lambda name: name, lambda name: name.replace("_", "-")):
        flags = [f"--{spelt(name)}={value}" for name, value in options.to_dict().items()]
        assert options_of(PARSER.parse_args(["restore", "a.png", "-o", "b.png", *flags])) == options


def test_what_is_not_given_is_the_default() -> None:
    assert options_of(PARSER.parse_args(["restore", "a.png", "-o", "b.png"])) == Options()


@pytest.mark.skipif(os.name == "nt", reason="there, a file of such a name is one that is missing")
@pytest.mark.parametrize("command", ["restore", "detect", "bench", "import", "folder"])
def test_names_that_are_too_long_are_a_sentence(
    command: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, long = tmp_path / "photo.png", tmp_path / ("x" * 300)
    photo.write_bytes(b"")
    more, said = {
        "restore": (["restore", photo, "-o", tmp_path / "out", "--detector-file", long], "unreadable (File name too"),
        "detect": (["detect", long], "cannot be opened (File name too long)"),
        "bench": (["bench", long], "there is no such file"),
        "import": (["models", "import", long], "unreadable (File name too long); check the path"),
        "folder": (
            ["models", "import", models / "small.safetensors", "--models", long],
            "the folder cannot be created (File name too long)",
        ),
    }[command]
    folder = [] if command == "folder" else ["--models", tmp_path]
    assert cli.main([str(one) for one in (*more, *folder)]) in (cli.USAGE, cli.FAILED)
    told = capsys.readouterr().err
    assert said in told and "Errno" not in told
