"""`Parser`: an argparse parser whose errors show an example, and suggest the command or option that was meant."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from ..wording import did_you_mean
from .output import USAGE, print_error

INPUTS = ("-i", "--input", "--inputs", "--input-path", "--input_path", "--image", "--images", "--source")
"""What other programs call the pictures, which are named without an option here."""
ELSEWHERE = {"-s": "--upscale", "-w": "--fidelity", "--weight": "--fidelity", "--codeformer-weight": "--fidelity"}
"""What other programs call an option."""


class Parser(argparse.ArgumentParser):
    """An argument parser. Its epilog is printed with errors too if it begins with "Example"."""

    def error(self, message: str) -> NoReturn:
        """Print the message, with an example and where to find more; ends the process."""
        print_error(message)
        if self.epilog and self.epilog.startswith("Example"):
            print_error(self.epilog)
        print_error(f"see `{self.prog} --help`")
        self.exit(USAGE)

    def unknown(self, arguments: Sequence[str]) -> str:
        """What is wrong with the first command or option that does not exist, and which one was meant; or ""."""
        parser = self
        for argument in arguments:
            commands = parser._commands()
            if argument in ("--", "-h", "--help"):
                break
            deeper = commands.get(argument)
            if isinstance(deeper, Parser):
                parser = deeper
            elif commands and not argument.startswith("-"):
                return parser._no_command(argument)
            elif argument.startswith("-") and not parser._is_known(argument):
                return parser._not_known(argument)
        return ""

    def _commands(self) -> Mapping[str, argparse.ArgumentParser]:
        found = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        return next((action.choices for action in found), {})

    def _flags(self) -> Iterable[str]:
        return [flag for action in self._actions for flag in action.option_strings if action.help != argparse.SUPPRESS]

    def _is_known(self, argument: str) -> bool:
        """Whether it is an option, the beginning of one, or no option at all: a negative number, the name "-"."""
        name = argument.partition("=")[0]
        if not name.startswith("--"):
            return name[:2] in self._option_string_actions or not name[1:2].isalpha()
        return any(flag.startswith(name) for flag in self._option_string_actions)

    def _no_command(self, argument: str) -> str:
        """What is wrong with a word in the place of a command; it may be a picture, since others need no command."""
        commands = self._commands()
        near = did_you_mean(argument, commands)
        if not near:
            near = f" The commands are {', '.join(commands)}."
            if self.epilog and ("." in argument or os.path.exists(argument)):
                near += f" {self.epilog}"
        return f"{argument or 'an empty word'} is not a command.{near} See `{self.prog} --help`."

    def _is_of_a_command(self, name: str) -> bool:
        deeper = [one for one in self._commands().values() if isinstance(one, Parser)]
        return any(name in one._option_string_actions or one._is_of_a_command(name) for one in deeper)

    def _not_known(self, argument: str) -> str:
        name = argument.partition("=")[0]
        if self._is_of_a_command(name):
            return f"{name} belongs after the command. See `{self.prog} --help`."
        takes_pictures = any(action.dest == "inputs" for action in self._actions)
        if name in INPUTS and takes_pictures:
            near = " Pictures and folders are named without an option."
        elif ELSEWHERE.get(name) in self._option_string_actions:
            near = f" Did you mean {ELSEWHERE[name]}?"
        else:
            # Compared without the dashes, which would make all names look similar.
            flags = [flag.lstrip("-") for flag in self._flags() if flag.startswith("--")]
            near = did_you_mean(name.lstrip("-"), flags, "--")
        example = f" {self.epilog}" if near and takes_pictures and self.epilog and name in INPUTS else ""
        return f"{argument} is not known.{near}{example} See `{self.prog} --help`."
