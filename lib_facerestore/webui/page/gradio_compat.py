"""What differs between the gradios of the hosts: 3.41 (A1111, reForge, Forge Classic), 4.40 (Forge), 4 to 6 (others).

Every other file of this room makes its components and events through these functions, so that no version is asked for
elsewhere. gradio is imported inside the functions: the WebUI measures what an extension adds to its start, and the API
without a page needs none of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

REFRESH_SYMBOL = "\U0001f504"  # the WebUI's own sign for it, so that its tooltips and translations apply
HIDDEN_CLASS = "facerestore-hidden"  # hidden by our style sheet; gradio 4 and later do not render visible=False


def gradio_version() -> tuple[int, int]:
    """Major and minor version of the gradio that is installed."""
    import gradio

    major, minor = gradio.__version__.split(".")[:2]
    return int(major), int(minor)


def listen(
    listener: Callable[..., Any],
    function: Callable[..., Any] | None,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    js: str | None = None,
    progress: bool = False,
    queue: bool = False,
) -> Any:
    """Attach `function` to an event and return what gradio returns, which has `.then`.

    listener: e.g. `dropdown.change`, `button.click` or `event.then`.
    js: a JavaScript function as text, run before `function` (which may be None); it gets the inputs and returns them.
    progress: whether the outputs show that work is under way.
    queue: False answers at once, also while a picture is being made; long work should wait its turn.
    """
    arguments: dict[str, Any] = {
        "fn": function,
        "inputs": list(inputs),
        "outputs": list(outputs),
        "queue": queue,
        "show_progress": "full" if progress else "hidden",
    }
    if js is not None:
        arguments["_js" if gradio_version() < (4, 0) else "js"] = js
    return listener(**arguments)


def update(**values: Any) -> Any:
    """What an event's function returns to change properties of a component, e.g. update(visible=False)."""
    import gradio

    return gradio.update(**values)


def image_input(label: str, elem_id: str, **arguments: Any) -> Any:
    """A box that takes an uploaded picture and gives a PIL image (other arguments are those of gr.Image)."""
    import gradio

    source = {"source": "upload"} if gradio_version() < (4, 0) else {"sources": ["upload", "clipboard"]}
    return gradio.Image(label=label, elem_id=elem_id, type="pil", **source, **arguments)


def accordion(label: str, elem_id: str, open: bool = False) -> Any:
    """A plain accordion, used in a with statement."""
    import gradio

    return gradio.Accordion(label=label, open=open, elem_id=elem_id)


@contextmanager
def input_accordion(value: bool, label: str, elem_id: str, open: bool = False) -> Iterator[Any]:
    """An accordion with a switch; yields the switch, a component whose value is True or False.

    In the WebUI this is its InputAccordion, a class in some and a function in others, where the switch and being open
    go together: the switch is `elem_id`-checkbox there. Where there is none, or where it must be open though it is off,
    an accordion with a checkbox `elem_id`-checkbox as its first line.
    """
    own = None if open and not value else _host_component("InputAccordion")
    if own is not None:
        with own(value, label=label, elem_id=elem_id) as switch:
            yield switch
        return
    import gradio

    with accordion(label, elem_id, open=open or value):
        yield gradio.Checkbox(value=value, label="Enable", elem_id=f"{elem_id}-checkbox")


def form_row(elem_id: str | None = None) -> Any:
    """A row whose parts stand close together; the WebUI's FormRow where there is one."""
    import gradio

    return (_host_component("FormRow") or gradio.Row)(elem_id=elem_id)


def tool_button(symbol: str, elem_id: str) -> Any:
    """A small button that shows one sign; the WebUI's ToolButton where there is one."""
    import gradio

    own = _host_component("ToolButton")
    button = (
        own(value=symbol, elem_id=elem_id)
        if own
        else gradio.Button(symbol, elem_id=elem_id, elem_classes=["tool"], scale=0, min_width=40)
    )
    return not_saved(button)


def hidden_text(elem_id: str) -> Any:
    """A text box that only JavaScript writes and reads. It is in the page, which visible=False would not be."""
    import gradio

    return not_saved(gradio.Textbox(value="", show_label=False, elem_id=elem_id, elem_classes=[HIDDEN_CLASS]))


def hidden_button(elem_id: str) -> Any:
    """A button that only JavaScript presses. It is in the page, which visible=False would not be."""
    import gradio

    return not_saved(gradio.Button(value=elem_id, elem_id=elem_id, elem_classes=[HIDDEN_CLASS]))


def not_saved(component: Any) -> Any:
    """Mark a component as one that the WebUI must not keep in ui-config.json, and return it."""
    component.do_not_save_to_config = True
    return component


def _host_component(name: str) -> Any:
    """A component of the WebUI's own, or None where it has none of that name."""
    try:
        from modules import ui_components
    except Exception as error:  # absent outside of a WebUI; inside, a broken one must not take the page with it
        logger.debug("no modules.ui_components: %s", error)
        return None
    return getattr(ui_components, name, None)
