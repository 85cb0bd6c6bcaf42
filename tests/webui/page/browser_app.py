"""A small page for the browser tests: the tabs, galleries and controls of a WebUI, with made-up faces and no networks.

Run as a program, by any Python that has gradio 3.41 or later: `python browser_app.py PORT`. The address is "/".
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import gradio as gr  # noqa: E402
import numpy as np  # noqa: E402
import PIL.Image  # noqa: E402
import PIL.ImageDraw  # noqa: E402
import PIL.ImageFilter  # noqa: E402
import uvicorn  # noqa: E402
from fastapi import FastAPI, Request, Response  # noqa: E402
from fastapi.responses import FileResponse  # noqa: E402

from lib_facerestore.faces.face import Face, FaceReport  # noqa: E402
from lib_facerestore.options.table import Options  # noqa: E402
from lib_facerestore.results import Found  # noqa: E402
from lib_facerestore.webui import service  # noqa: E402
from lib_facerestore.webui.page import controls, gradio_compat  # noqa: E402

SIZE = (640, 400)
BOXES = ((40.0, 120.0, 140.0, 240.0), (250.0, 60.0, 450.0, 300.0), (540.0, 200.0, 580.0, 250.0))


def gradio_major() -> int:
    return int(gr.__version__.split(".")[0])


def drawing(shift: int = 0) -> PIL.Image.Image:
    """A picture with three drawn faces where `BOXES` says, in colours that depend on `shift`."""
    across = np.linspace(0, 255, SIZE[0], dtype=np.float32)[None, :, None]
    down = np.linspace(255, 0, SIZE[1], dtype=np.float32)[:, None, None]
    pixels = (across * [0.2, 0.5, 0.9] + down * [0.7, 0.3, 0.1] + shift * 60) % 256
    image = PIL.Image.fromarray(pixels.astype(np.uint8))
    pen = PIL.ImageDraw.Draw(image)
    for x0, y0, x1, y1 in BOXES:
        unit = (x1 - x0) / 10
        pen.ellipse((x0, y0, x1, y1), fill=(236, 190, 160), outline=(90, 50, 30), width=2)
        for x in (x0 + 3 * unit, x0 + 7 * unit):
            pen.ellipse((x - unit, y0 + 4 * unit, x + unit, y0 + 6 * unit), fill=(40, 60, 120))
        pen.arc((x0 + 3 * unit, y0 + 6 * unit, x1 - 3 * unit, y0 + 10 * unit), 20, 160, fill=(150, 30, 40), width=4)
    return image


def faces(scale: float = 1.0) -> list[Face]:
    """The three faces, numbered from the left; `scale` times the size."""
    found = []
    for number, box in enumerate(BOXES, start=1):
        x0, y0, x1, y1 = (value * scale for value in box)
        points = [(0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]
        landmarks = [(x0 + x * (x1 - x0), y0 + y * (y1 - y0)) for x, y in points]
        found.append(Face(number, (x0, y0, x1, y1), np.array(landmarks, np.float32), 0.9))
    return found


def run(tab: str, shift: int) -> list[PIL.Image.Image]:
    """Pretend to have restored two pictures of a tab; the gallery shows them."""
    pictures, results = [], []
    for index in range(2):
        after = drawing(shift + index)
        before = after.filter(PIL.ImageFilter.GaussianBlur(4))
        reports = [FaceReport.of(face, "lite", True) for face in faces()[:2]]
        reason = "face 3: skipped, 50 px is below min_face 64"
        reports.append(FaceReport.of(faces()[2], "lite", False, reason))
        pictures.append(service.RunPicture(before, after, tuple(reports)))
        results.append(after)
    service.remember(tab, pictures)
    return results


def detect(image: PIL.Image.Image, options: Options, reduced: float = 1.0) -> Found:
    """In place of the detector; a high confidence finds no face."""
    return Found(faces(image.width / SIZE[0]) if options.confidence <= 0.9 else [])


def make_tab(tab: str, with_input: bool) -> None:
    """The parts of one tab, with the WebUI's names."""
    with gr.Row():
        with gr.Column():
            if with_input:
                source = {"source": "upload"} if gradio_major() < 4 else {"sources": ["upload", "clipboard"]}
                gr.Image(label="Input", elem_id=f"{tab}_image", type="pil", **source)
            made = controls.build(tab)
        with gr.Column(elem_id=f"{tab}_results"):
            with gr.Group(elem_id=f"{tab}_gallery_container"):
                gallery = gr.Gallery(
                    label="Output", show_label=False, elem_id=f"{tab}_gallery", columns=4, preview=True, height=420
                )
            with gr.Row(elem_id=f"image_buttons_{tab}"):
                gr.Button("Save")
            seen = gr.Textbox("", label="Faces box, as the server sees it", elem_id=f"{tab}_seen")
            generate = gr.Button("Generate", elem_id=f"{tab}_generate")
            plain = gr.Button("Generate without", elem_id=f"{tab}_generate_plain")
            silent = gr.Button("Generate without, the last run stays known", elem_id=f"{tab}_generate_known")
            some = gr.Button("Generate, one without a face", elem_id=f"{tab}_generate_mixed")
            empty = gr.Button("Generate without a face", elem_id=f"{tab}_generate_faceless")
    count = iter(range(10_000))

    shifts: list[int] = [0]

    def restored(faces_box: str) -> tuple[list[PIL.Image.Image], str]:
        shifts.append(2 * next(count))
        return run(tab, shifts[-1]), faces_box

    def alike() -> list[PIL.Image.Image]:
        """A later run of the same seed, without restoration, that the service does not know."""
        image = drawing(shifts[-1])
        image.putpixel((next(count), 0), (1, 2, 3))
        return [image]

    def untouched() -> list[PIL.Image.Image]:
        service.remember(tab, [])
        return [drawing(50 + next(count))]

    def faceless() -> list[PIL.Image.Image]:
        image = drawing(80 + next(count))
        service.remember(tab, [service.RunPicture(image, image, (), notes=("no face was found",))])
        return [image]

    def mixed() -> list[PIL.Image.Image]:
        """Two pictures; the second has no face."""
        image, first = drawing(90 + next(count)), run(tab, 70 + next(count))[0]
        service.remember(tab, [service.last_run(tab)[0], service.RunPicture(image, image, ())])
        return [first, image]

    gradio_compat.listen(some.click, mixed, [], [gallery])
    gradio_compat.listen(empty.click, faceless, [], [gallery])
    gradio_compat.listen(generate.click, restored, [made.by_name["faces"]], [gallery, seen])
    gradio_compat.listen(plain.click, untouched, [], [gallery])
    gradio_compat.listen(silent.click, alike, [], [gallery])


def build() -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="Face Restore, browser tests") as demo, gr.Tabs():
        with gr.TabItem("txt2img"):
            make_tab("txt2img", False)
        with gr.TabItem("img2img", elem_id="tab_img2img"):
            make_tab("img2img", True)
    return demo


def main(port: int) -> None:
    """Serve the page on localhost until the process is ended."""
    service.detect = detect
    app = FastAPI()
    scripts = sorted((ROOT / "javascript").glob("*.js"))
    scripts_html = "".join(f'<script src="/own/{path.name}"></script>' for path in scripts)

    @app.get("/own/{name}")
    def own(name: str) -> FileResponse:
        known = {path.name: path for path in (*scripts, ROOT / "style.css")}
        return FileResponse(known[name])

    @app.get("/bare")
    def bare() -> Response:
        """A page that has the WebUI's functions and nothing else."""
        hooks = "var called = []; function onAfterUiUpdate(f) { called.push(f); } function onUiLoaded(f) { f(); }"
        head = f"<script>var before = Object.keys(window); {hooks}</script>{scripts_html}"
        head += "<script>var after = Object.keys(window);</script>"
        return Response(f"<!doctype html><html><head>{head}</head><body>bare</body></html>", media_type="text/html")

    @app.middleware("http")
    async def add_scripts(request: Request, call_next):  # type: ignore[no-untyped-def]
        """As the WebUI does: our style sheet and scripts stand in the page's head."""
        response = await call_next(request)
        if request.url.path != "/" or "text/html" not in response.headers.get("content-type", ""):
            return response
        body = b"".join([part async for part in response.body_iterator]).decode()
        head = '<link rel="stylesheet" href="/own/style.css">' + scripts_html
        headers = {name: value for name, value in response.headers.items() if name != "content-length"}
        return Response(body.replace("</head>", head + "</head>", 1), response.status_code, headers)

    demo = build()
    if gradio_major() < 4:
        demo.queue()
    uvicorn.run(gr.mount_gradio_app(app, demo, path="/"), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]))
