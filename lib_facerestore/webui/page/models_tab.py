"""The tab "Face Restore": the models, their licences, and their downloads, which start only on a click.

Progress comes from a generator, which every gradio of the hosts runs in its queue; without a queue the user presses the
refresh button.
"""

from __future__ import annotations

import html
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...catalogue import (
    BUILT_IN,
    IdentifiedFile,
    Inventory,
    ModelEntry,
    known_model,
    known_models,
    misfit_message,
    misfit_state,
    package_is_there,
)
from ...catalogue.terms import licence_text
from ...errors import FaceRestoreError
from .. import host, packages, service
from ..downloads import Download, DownloadManager, LicenceError, download_folder, manager
from . import gradio_compat

logger = logging.getLogger(__name__)

TITLE, ELEM_ID = service.MODELS_TAB, "facerestore"
KINDS = {
    "restorer": "Restorers", "detector": "Detectors: find the faces", "parser": "Parsers: say what is skin, eye, hair",
    "upscaler": "Upscalers: enlarge what is no face",
}  # fmt: skip
ACCEPT = "I accept the licence"
POLL = 0.5
"""Seconds between two looks at a download."""


def tabs() -> list[tuple[Any, str, str]]:
    """The tab, for `script_callbacks.on_ui_tabs`. Never raises; no tab where it cannot be made."""
    try:
        import gradio

        with gradio.Blocks(analytics_enabled=False) as blocks:
            build()
        return [(blocks, TITLE, ELEM_ID)]
    except Exception:  # the WebUI's page must be made without our tab
        logger.exception("the tab %s cannot be made", TITLE)
        return []


def build(downloads: DownloadManager | None = None, queued: bool | None = None) -> None:
    """Put the tab's content into the Blocks that are being made.

    downloads: None means the WebUI's. queued: whether gradio's queue runs; None asks the WebUI's command line.
    """
    import gradio

    problem = packages.note("list")
    if problem:
        gradio.Markdown(problem)
        return
    queued = not host.cmd_opt("no_gradio_queue", False) if queued is None else queued
    _build(_Events(downloads or manager()), queued)


def _build(events: _Events, queued: bool) -> None:
    """The components and their events."""
    import gradio

    there = _scan()
    ids = _offered(there.installed(None))
    first = ids[0] if ids else None
    note = packages.note("download") or "Nothing is downloaded unless you ask for it here."
    gradio.Markdown(f"Models that restore faces. {note}")
    with gradio_compat.form_row():
        label = "Model to download"
        model = gradio.Dropdown(choices=ids, value=first, label=label, elem_id="facerestore_models_choice")
        refresh = gradio_compat.tool_button(gradio_compat.REFRESH_SYMBOL, "facerestore_models_refresh")
    licence = gradio.HTML(licence_html(first), elem_id="facerestore_models_licence")
    accept = gradio.Checkbox(value=False, label=ACCEPT, elem_id="facerestore_models_accept")
    with gradio_compat.form_row():
        start = gradio.Button("Download", variant="primary", elem_id="facerestore_models_download")
        cancel = gradio.Button("Cancel", size="sm", scale=0, min_width=80, elem_id="facerestore_models_cancel")
    state = gradio.HTML(states_html(events.downloads), elem_id="facerestore_models_state")
    table = gradio.HTML(table_html(there), elem_id="facerestore_models_table")
    for component in (model, accept, start, cancel):
        gradio_compat.not_saved(component)
    outputs = [table, model, state]
    download = events.follow if queued else events.start
    gradio_compat.listen(model.change, events.choose, [model], [licence, accept])
    gradio_compat.listen(start.click, download, [model, accept], outputs, queue=queued)
    gradio_compat.listen(cancel.click, events.cancel, [model], [state])
    gradio_compat.listen(refresh.click, events.refresh, [model], outputs)


class _Events:
    """What the tab's components do; each method returns what the outputs of its event show then."""

    def __init__(self, downloads: DownloadManager) -> None:
        self.downloads = downloads

    def refresh(self, name: str | None) -> tuple[Any, ...]:
        """The table, the models that can be downloaded, and the downloads."""
        there = _scan()
        offered = _offered(there.installed(None))
        if name not in offered:  # it is installed now; gradio 4 refuses a value that is not among the choices
            name = offered[0] if offered else None
        choice = gradio_compat.update(choices=offered, value=name)
        return table_html(there), choice, states_html(self.downloads)

    def choose(self, name: str | None) -> tuple[Any, ...]:
        """The licence of the model, which is yet to be accepted."""
        return licence_html(name), gradio_compat.update(value=False)

    def follow(self, name: str | None, accepted: bool) -> Iterator[tuple[Any, ...]]:
        """Start a download, and show its progress until it ends."""
        problem = begin(self.downloads, name, accepted)
        yield (*self.refresh(name)[:2], problem or states_html(self.downloads))
        if problem or not name:
            return
        while _active(self.downloads, name):
            time.sleep(POLL)
            yield gradio_compat.update(), gradio_compat.update(), states_html(self.downloads)
        yield self.refresh(name)

    def start(self, name: str | None, accepted: bool) -> tuple[Any, ...]:
        """Start a download, and say how to see its progress."""
        problem = begin(self.downloads, name, accepted)
        hint = _note("Press the refresh button to see its progress.")
        return (*self.refresh(name)[:2], problem or states_html(self.downloads) + hint)

    def cancel(self, name: str | None) -> str:
        """The downloads, after this one was asked to end; or a sentence where it is not under way."""
        if not name or not _active(self.downloads, name):
            what = f"of {name} " if name else ""
            return _note(f"No download {what}is under way.") + states_html(self.downloads)
        self.downloads.cancel(name)
        return states_html(self.downloads)


def begin(downloads: DownloadManager, name: str | None, accepted: bool) -> str:
    """Start a download; returns HTML that says why that was not possible, else ""."""
    if not name:
        return _note("Choose a model first.")
    try:
        downloads.start(name, bool(accepted))
    except LicenceError:  # whose message is the licence, which stands above the button
        return _note(f"{name}: read the licence above, and tick “{ACCEPT}” first.", "error")
    except FaceRestoreError as error:
        return _note(str(error), "error")
    except Exception as error:  # an exception in an event shows the page nothing but "Error"
        logger.exception("the download of %s cannot be started", name)
        return _note(f"{type(error).__name__}: {error}", "error")
    return ""


def _active(downloads: DownloadManager, name: str) -> bool:
    state = downloads.state(name)
    return state is not None and state.active


def _scan() -> Inventory:
    try:
        return service.store().scan()
    except Exception:  # a damaged model folder must not hide what can be downloaded
        logger.exception("the model folders cannot be read")
        return Inventory((), ())


def _listed(installed: dict[str, Path]) -> list[ModelEntry]:
    """The models that can be used here; where one needs a package that is missing, only if its file is here."""
    return [
        entry
        for entry in known_models(None)
        if entry.used and (entry.id in installed or not entry.needs or package_is_there(entry.needs))
    ]


def _offered(installed: dict[str, Path]) -> list[str]:
    """Ids of the models that can be downloaded and are not installed, the preferred ones first."""
    entries = _listed(installed)
    return [one.id for one in entries if one.id not in installed and any(file.urls for file in one.published)]


def table_html(there: Inventory) -> str:
    """All models that can be used here, and which are installed: one table with a heading for each kind.

    Above it are the folders that cannot be opened, and the files that have a model's name and cannot be used.
    """
    installed, misfits = there.installed(None), there.misfits(None)
    rows = [
        '<div class="facerestore-models"><table><thead><tr>'
        + "".join(f"<th>{title}</th>" for title in _TITLES)
        + "</tr></thead><tbody>"
    ]
    entries = _listed(installed)
    for kind, heading in KINDS.items():
        of_kind = [entry for entry in entries if entry.kind == kind]
        if of_kind:
            rows.append(f'<tr><th colspan="{len(_TITLES)}">{heading}</th></tr>')
        rows += [_row(entry, installed.get(entry.id), misfits.get(entry.id)) for entry in of_kind]
    rows.append(f"</tbody></table></div><p>Downloads go to {html.escape(str(download_folder()))}</p>")
    shown = {entry.id for entry in entries}
    faults = [_fault(misfit) for name, misfit in misfits.items() if name in shown]
    return "".join([*(_note(text, "error") for text in (*there.closed, *faults)), *rows])


def _fault(misfit: IdentifiedFile) -> str:
    """What is wrong with a file that has a model's name, with the remedy."""
    again = "" if misfit.fault == "unreadable" else " Move it away, then download it here."
    return misfit_message(misfit) + again


_TITLES = ("Model", "Good for", "Installed", "Size", "Licence", "Commercial use")


def _row(entry: ModelEntry, path: Path | None, misfit: IdentifiedFile | None) -> str:
    count = entry.bytes
    if path is not None:
        try:
            count = path.stat().st_size
        except OSError:
            count = 0
    size = f"{count / 2**20:.0f} MB" if count >= 2**20 else "under 1 MB" if count else "not stated"
    state = "built in" if entry.id == BUILT_IN else "yes" if path is not None else "no"
    if state == "yes" and path is not None and path.name.lower() not in {file.lower() for file in entry.files}:
        state = f"yes, as {path.name}"
    if path is None and misfit is not None:
        state = misfit_state(misfit)
    cells = [html.escape(cell) for cell in (entry.id, entry.good_for, state, size, entry.licence, entry.commercial)]
    if state == "no" and entry.page and not any(file.urls for file in entry.published):
        cells[2] = f'no, <a href="{html.escape(entry.page)}" target="_blank" rel="noopener">by hand</a>'
    cells[3] = cells[3].replace(" ", "&nbsp;")
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def licence_html(name: str | None) -> str:
    """The licence of a model in full."""
    entry = known_model(name) if name else None
    return _note(licence_text(entry)) if entry else ""


def states_html(downloads: DownloadManager) -> str:
    """Every download since the start, as HTML."""
    return "".join(_state(state) for state in downloads.states())


def _state(state: Download) -> str:
    bar = ""
    if state.state == "running" and state.total:
        bar = f'<br><progress max="{state.total}" value="{state.done}" style="width: 100%"></progress>'
    kind = "error" if state.state == "failed" else ""
    text = html.escape(state.text).replace("\n", "<br>")
    return f'<p class="{kind}">{text}{bar}</p>'


def _note(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{html.escape(text)}</p>'
