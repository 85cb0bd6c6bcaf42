"""The differences between gradio 3.41 (A1111, reForge, Forge Classic), 4.40 (Forge), and 4 to 6 (others).

The other files of this folder make such components through these functions, so that none of them checks a version.
gradio is imported inside the functions: the WebUI measures what an extension adds to its start, and the API without a
page needs none of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

logger = logging.getLogger(__name__)

REFRESH_SYMBOL = "\U0001f504"  # the WebUI's own sign for it, so that its tooltips and translations apply
HIDDEN_CLASS = "facerestore-hidden"  # hidden by our style sheet; gradio 4 and later do not render visible=False


def listen(
    listener: Callable[..., Any],
    function: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    queue: bool = False,
) -> None:
    """Attach `function` to an event. The outputs do not show that work is under way.

    listener: e.g. `dropdown.change` or `button.click`.
    queue: False answers at once, also while a picture is being made; long work should be queued.
    """
    listener(fn=function, inputs=list(inputs), outputs=list(outputs), queue=queue, show_progress="hidden")


def update(**values: Any) -> Any:
    """What an event's function returns to change properties of a component, e.g. update(visible=False)."""
    import gradio

    return gradio.update(**values)


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
    """A row with little space between its parts; the WebUI's FormRow where there is one."""
    import gradio

    return (_host_component("FormRow") or gradio.Row)(elem_id=elem_id)


def tool_button(symbol: str, elem_id: str) -> Any:
    """A small button that shows one symbol; the WebUI's ToolButton where there is one."""
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


def in_page() -> bool:
    """Whether components are being made for a page, inside of its rows and groups.

    The WebUI's API also makes the controls, directly in a Blocks of their own, to learn the defaults.
    """
    from gradio.context import Context

    return getattr(Context, "block", None) is not getattr(Context, "root_block", None)


def not_saved(component: Any) -> Any:
    """Mark a component as one that the WebUI must not keep in ui-config.json, and return it."""
    component.do_not_save_to_config = True
    return component


def _host_component(name: str) -> Any:
    """The WebUI's own component of that name, or None where it has none."""
    try:
        from modules import ui_components
    except Exception as error:  # absent outside of a WebUI; inside, a broken one must not take the page with it
        logger.debug("no modules.ui_components: %s", error)
        return None
    return getattr(ui_components, name, None)
