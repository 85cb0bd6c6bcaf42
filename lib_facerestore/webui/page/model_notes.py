"""What the page shows about models: the choices, their knobs, and a note on the chosen one.

Nothing here raises, since the page must open even where a model folder is damaged.
"""

from __future__ import annotations

import logging

from ...catalogue import IdentifiedFile, ModelEntry, known_model, known_models, misfit_message
from ...errors import FaceRestoreError, OptionError
from ...options.table import SPECS
from ...wording import did_you_mean
from .. import packages, service, settings
from ..page_words import DEFAULT_MODEL

logger = logging.getLogger(__name__)

NOT_INSTALLED = "not installed"
"""What the label of a choice says whose file is not there."""


def model_note(model: object) -> str:
    """What the user should know about the model that is chosen, as one sentence; "" if there is nothing to say."""
    problem = packages.note("restore") or packages.note("list")
    if problem:
        return problem
    name = str(model or SPECS["model"].default).strip()
    choices = {choice.id: choice for choice in _models()}
    default = settings.read().default_model
    if name == service.AUTO and default != service.AUTO:
        return f"auto is {default} now, as {DEFAULT_MODEL} in the Settings says. {model_note(default)}".strip()
    choice = choices.get(name)
    if name == service.AUTO:
        chosen = choice.label.removeprefix("auto").strip(" ()") if choice else ""
        return f"auto is {chosen} now." if chosen else ""
    if choice is not None:
        return f"{name} cannot be used: {choice.fault}" if choice.fault else ""
    entry = known_model(name)
    if entry:
        misfit = _misfit(entry)
        if misfit is not None:
            return f"{name} cannot be used: {_fault(misfit)}"
        told = f"{name} is not installed. It can be downloaded in the tab {service.MODELS_TAB}."
        return " ".join([told, *_closed()])
    try:
        service.store().scan().find(name)
    except OptionError as error:  # a path
        return str(error)
    except Exception as error:
        logger.debug("model %s: %s", name, error)
        return f"There is no model {name}.{did_you_mean(name, [*(entry.id for entry in known_models()), *choices])}"
    return ""


def saved_fault(model: object) -> str:
    """Why a known model cannot be used although a file of its name is there, with the remedy; else ""."""
    entry = known_model(model) if isinstance(model, str) else None
    misfit = _misfit(entry) if entry else None
    return _fault(misfit) if misfit else ""


def _fault(misfit: IdentifiedFile) -> str:
    again = "" if misfit.fault == "unreadable" else f" Move it away first; the tab {service.MODELS_TAB} downloads it."
    return f"{misfit_message(misfit)}{again}"


def _models() -> list[service.ModelChoice]:
    try:
        return service.models()
    except FaceRestoreError as error:
        logger.warning("the models cannot be listed: %s", error)
        return []
    except Exception:  # the page must open even where a model folder is damaged
        logger.exception("the models cannot be listed")
        return []


def _closed() -> tuple[str, ...]:
    """A sentence for each model folder that cannot be opened: the model may be in it."""
    try:
        return service.store().scan().closed
    except Exception:  # as in _models
        logger.exception("the model folders cannot be read")
        return ()


def _misfit(entry: ModelEntry) -> IdentifiedFile | None:
    try:
        return service.store().scan().misfits(entry.kind).get(entry.id)
    except Exception:  # as in _models
        logger.exception("the model folders cannot be read")
        return None


def model_ids() -> list[str]:
    """What the dropdown offers, as plain ids: the WebUI compares labels with saved values, so both must be the same."""
    return service.model_ids()


def knobs(model: object) -> frozenset[str]:
    """The knobs of a model, or of the model that auto chooses; all of them where they are not known."""
    try:
        return service.knobs_of(str(model or SPECS["model"].default).strip())
    except FaceRestoreError as error:
        logger.debug("the knobs of %s are not known: %s", model, error)
        return frozenset({"fidelity"})
    except Exception:  # as in _models; a slider too many does no harm
        logger.exception("the knobs of %s are not known", model)
        return frozenset({"fidelity"})


def detector_choices() -> list[tuple[str, str]]:
    """Labels and values for the list of detectors; the label of one whose file is not there says so.

    A detector that a user has saved as default has its plain name as label again once its file is there, and the WebUI
    compares labels.
    """
    try:
        there = {service.AUTO, service.BUILT_IN, *service.store().scan().installed("detector")}
    except Exception as error:  # as in _models, which tells it; then nothing is marked
        logger.debug("the detectors cannot be listed: %s", error)
        return [(name, name) for name in SPECS["detector"].choices]
    names = SPECS["detector"].choices
    return [(name if name in there else f"{name} ({NOT_INSTALLED})", name) for name in names]
