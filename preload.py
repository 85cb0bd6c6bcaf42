"""Run by the WebUI before it reads its command line: adds our argument. Nothing else may be imported here."""

import argparse
import contextlib


def preload(parser: argparse.ArgumentParser) -> None:
    """Add --facerestore-models-path; its value is `shared.cmd_opts.facerestore_models_path`."""
    with contextlib.suppress(argparse.ArgumentError):  # another copy of this extension has added it
        parser.add_argument(
            "--facerestore-models-path",
            type=str,
            default=None,
            help="folder with face restoration models; it is searched before the WebUI's own, and downloads go there",
        )
