"""Options given on the command line are the options that are used."""

from __future__ import annotations

from hypothesis import given

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
