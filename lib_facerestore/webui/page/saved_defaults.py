"""Defaults that the user has saved for a tab, where the WebUI itself cannot put them into our controls.

The WebUI keeps the values of controls in ui-config.json, from the first time that it shows them. It silently passes
over a value that is not in a list's choices: a model that is gone, a number that was typed into a list that also takes
words, or one that was saved when the option still had a slider.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from ...errors import OptionError
from ...options.spec import OptionSpec, number_text
from ...options.table import SPECS
from .. import host
from ..page_words import LABELS
from ..request import OPTION_NAMES

logger = logging.getLogger(__name__)


def read(tab: str) -> dict[str, object]:
    """The saved values of a tab's options, by name; {} where there are none, or they cannot be read. Never raises."""
    try:
        saved = json.loads(Path(host.cmd_opt("ui_config_file", "ui-config.json")).read_text("utf-8"))
    except (OSError, ValueError, TypeError) as error:
        logger.debug("the saved defaults cannot be read: %s", error)
        return {}
    if not isinstance(saved, dict):
        return {}
    script = "facerestore_extras.py" if tab.startswith("extras") else "facerestore.py"
    keys = {name: f"customscript/{script}/{tab.removeprefix('extras_')}/{LABELS[name]}/value" for name in OPTION_NAMES}
    return {name: saved[key] for name, key in keys.items() if saved.get(key) is not None}


def saved_number(spec: OptionSpec, saved: Mapping[str, object]) -> str:
    """What the list of an option that takes a number or a word shows at first: the saved value, else the default."""
    try:
        return number_text(spec.check(saved[spec.name]))
    except (KeyError, OptionError):  # `note` names a value that is not allowed
        return number_text(spec.default)


def note(saved: Mapping[str, object], models: Collection[str], fault: str = "") -> str:
    """A sentence for each saved default that cannot be used any more; "" if there is none.

    Args:
        saved: from `read`.
        models: the models that can be chosen.
        fault: why the saved model cannot be used although its file is there, else "".
    """
    found = []
    model = saved.get("model")
    if isinstance(model, str) and model not in models:
        why = "cannot be used" if fault else "is not installed any more"
        found.append(f"{model}, the saved default of this page, {why}: auto is chosen instead. {fault}".strip())
    for spec in (SPECS[name] for name in saved if SPECS[name].kind == "number"):
        try:
            spec.check(saved[spec.name])
        except OptionError as error:
            found.append(
                f"The saved default of {LABELS[spec.name]} cannot be used: {error} {spec.default} is chosen instead."
            )
    return " ".join(found)
