"""The small packages that install.py adds: which of them are missing, what that costs, and how to get them.

Nothing that runs at the WebUI's start needs one of them, so each is missed only where it is used; what is raised there
becomes a sentence for the user.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from ..catalogue import package_is_there
from ..checks.packages import ALONE, PACKAGES, package_of
from ..errors import FaceRestoreError
from ..wording import pip_install

Use = Literal["restore", "list", "download"]

SMALL: dict[str, str] = {package.name: package.in_webui for package in PACKAGES if package.in_webui is not None}
"""Every package that install.py adds, with the arguments of `pip install` besides its name."""

_TOML = tuple(name for name in SMALL if name == "tomli")
_NEEDED: dict[Use, tuple[tuple[str, ...], str]] = {
    "restore": (("safetensors", *_TOML), "no face can be restored"),
    "list": (_TOML, "the models cannot be listed"),
    "download": (("httpx", "filelock", *_TOML), "no model can be downloaded"),
}


RESTART = ", then restart the WebUI"
"""What messages inside a WebUI say after the command that installs a package."""


class MissingPackageError(FaceRestoreError):
    """A package that is needed cannot be imported; the message says how to install it."""


@contextlib.contextmanager
def needed() -> Iterator[None]:
    """Turns the ImportError of a small package into a MissingPackageError; also works as a decorator."""
    try:
        yield
    except ImportError as error:
        explained = explain(error)
        if explained is None:
            raise
        raise explained from error


def explain(error: ImportError) -> MissingPackageError | None:
    """The error for the user, where the package that cannot be imported is one of `SMALL`; else None."""
    package = package_of(error)
    if package is None or package.name not in SMALL:
        return None
    problem = f"cannot be imported ({error})" if package_is_there(package.module) else "is missing"
    return MissingPackageError(f"the package {package.name} {problem}; {_remedy([package.name])}")


def note(use: Use) -> str:
    """What the page says where packages for `use` are missing, e.g. "The package httpx is missing, so …"; else ""."""
    packages, cost = _NEEDED[use]
    missing = [package for package in packages if not package_is_there(package)]
    if not missing:
        return ""
    several = len(missing) > 1
    subject = f"The packages {' and '.join(missing)} are" if several else f"The package {missing[0]} is"
    return f"{subject} missing, so {cost}; {_remedy(missing)}"


def _remedy(packages: list[str]) -> str:
    alone = [ALONE] if all(SMALL[package] == ALONE for package in packages) else []
    them = "them" if len(packages) > 1 else "it"
    return f"install {them} with `{pip_install(*alone, *packages)}`{RESTART}."
