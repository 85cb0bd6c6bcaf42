"""A double of the host: a `modules` package that does to an extension what the WebUI does to one.

How to use it (`tests/webui/conftest.py` has the fixture `host`, which installs it and takes it away again):

    def test_something(host):                                   # host.kind is "a1111"
        host.start()                                            # loads scripts/*.py, settings, UI, API, app_started
        done = host.run("txt2img", args={"Face Restore": [True]}, batch_size=2, decoded=[picture, picture])
        done.images, done.infotexts, host.saved                 # PIL images, texts, what images.save_image was given

    @pytest.mark.parametrize("host", ["a1111", "forge", "classic", "sdnext"], indirect=True)

Without `host.start()` nothing is loaded; `host.add_script(cls)` and `host.add_extras(cls)` add one class by hand, ahead
of `host.start(load=False)`. What there is:

- `host.start(load=True, nowebui=False)`, `host.reload_ui()`: the start and "Reload UI", in the host's own order.
- `host.run(tab, args=..., scripts=True, **fields)`: one job as the page starts it. `decoded` are the pictures that the
  "network" makes: H×W×3 uint8 arrays (the tensors that the hooks see lie strictly between two such values, so that
  rounding instead of truncating shows), or float arrays, used as they are. `fields` are attributes of `p`.
  `host.make_p(tab, ...)` and `host.modules.processing.process_images(p)` do the same in two steps.
- `host.api(tab, alwayson_scripts=..., restore_faces=..., infotext=..., **fields)`: through the API; errors are ApiError
  with `.status` and `.detail`. `host.extras(images, {script: {arg: value}})`: the Extras tab;
  `host.extras_api(images)`: its API, which gives None for every argument of a third-party script.
- `host.paste(tab, text)` -> {elem_id: value} as PNG Info and Send-to fill the page; `host.xyz(tab, {label: "a, b"})`:
  one job for each cell; `host.app`: the FastAPI app after `start()`; `host.set_opts(key=value)`;
  `host.value_of(tab, elem_id)`.
- `host.errors`: (what, exception) of everything that the host caught or that it objects to. The fixture fails the test
  if any is left at the end; `host.take_errors()` returns and clears them.
- `host.log`: the names of the stages and hooks in the order in which they ran. `host.saved`: `Saved` records.
  `host.ui_config`: the frozen ui-config; `host.duplicates`: labels that two controls share there.
- `host.modules.shared`, `host.modules.script_callbacks`, ...: the fake modules themselves; `host.shared.state` and
  `host.shared.opts` at once.

What it enforces, by the numbers of the contract: order of hooks (1), hires and crops (2), restore_faces (3), what may
raise where (4), interrupt (5), three `ui()` calls and frozen values (6), API arguments (7), how scripts are loaded (8),
infotext (9), override leak (10), X/Y/Z (11), Extras in the main UI (12), Extras (13, 14, 15), settings (16), torch.load
(19), devices (21), app_started and own routes (23); Forge: inference mode (F1), renamed files (F2), alpha bits (F3),
`index` (F4), `InputAccordion` as a function (F8). Forge Classic: callbacks
without `name=`, Extras in RGB. SD.Next: no face_restoration, no face_restorers, no after_composite.
"""

from __future__ import annotations

from .api import ApiError
from .host import Host
from .pictures import Saved

__all__ = ["ApiError", "Host", "Saved"]
