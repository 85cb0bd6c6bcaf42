/* Face Restore, the panel below a gallery and its buttons: one picture before and after under a slider.
 *
 * It is folded to one line until the user opens it, and not shown where no face was restored. A setting of the WebUI has
 * it open, or switches it off.
 *
 * The slider is a range input that lies, unseen, over the whole picture: mouse, touch and keyboard (arrows, page keys,
 * Home, End) are the browser's own, and all places are shares of the picture, so no zoom or resize can displace it.
 */
(function () {
    "use strict";

    const parts = (window.facerestore_parts = window.facerestore_parts || {});
    if (parts.compare) return; // of another copy of this extension

    const STEPS = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10}; // percent

    function percent(share) {
        return `${(100 * share).toFixed(3)}%`;
    }

    /** What the setting says: "closed", "open" or "off". */
    function wanted() {
        const settings = typeof opts === "object" && opts ? opts : {};
        return settings.facerestore_compare || "closed";
    }

    /** `act` has turn(step), which asks for the next or the previous picture. */
    function createCompare(tab, act) {
        const make = parts.page.make;
        const after = make("img", {class: "facerestore-after", alt: "After", draggable: "false"});
        const before = make("img", {class: "facerestore-before", alt: "Before", draggable: "false"});
        const outline = make("div", {class: "facerestore-outline", hidden: ""});
        const slider = make("input", {
            type: "range", class: "facerestore-slider", id: `facerestore_${tab}_slider`, min: "0", max: "100",
            step: "any", "aria-label": "Before / after",
        });
        const stage = make(
            "div", {class: "facerestore-stage"},
            after, before, outline,
            make("span", {class: "facerestore-tag facerestore-tag-before", text: "Before"}),
            make("span", {class: "facerestore-tag facerestore-tag-after", text: "After"}),
            make("div", {class: "facerestore-handle", "aria-hidden": "true"}, make("span", {text: "⇆"})),
            slider
        );
        const count = make("span", {class: "facerestore-count"});
        const plain = {type: "button", class: "facerestore-button"};
        const back = make("button", {...plain, text: "‹", "aria-label": "Previous picture"});
        const on = make("button", {...plain, text: "›", "aria-label": "Next picture"});
        const pager = make("span", {class: "facerestore-pager", hidden: ""}, back, count, on);
        const note = make("span", {class: "facerestore-status", role: "status"});
        const element = make(
            "details", {class: "facerestore facerestore-compare", id: `facerestore_${tab}_compare`, hidden: ""},
            make(
                "summary", {class: "facerestore-bar"},
                make("span", {class: "facerestore-title", text: "Face Restore: before / after"}), note
            ),
            make("div", {class: "facerestore-bar facerestore-turn"}, pager),
            stage
        );
        let fresh = true; // the WebUI's settings are known only when the first picture is shown

        function place() {
            const value = Number(slider.value);
            stage.style.setProperty("--facerestore-at", `${value}%`);
            slider.setAttribute("aria-valuetext", `${Math.round(value)} % before`);
        }

        function keys(event) {
            const step = STEPS[event.key];
            if (step === undefined && event.key !== "Home" && event.key !== "End") return;
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            // step="any" gives a smooth drag, but leaves the size of an arrow key's step to the browser
            const target = event.key === "Home" ? 0 : event.key === "End" ? 100 : Number(slider.value) + step;
            slider.value = String(Math.max(0, Math.min(100, target)));
            event.preventDefault();
            event.stopPropagation(); // a gallery takes arrow keys too
            place();
        }

        slider.value = "50";
        slider.addEventListener("input", place);
        slider.addEventListener("keydown", keys);
        back.addEventListener("click", () => act.turn(-1));
        on.addEventListener("click", () => act.turn(1));
        place();
        return {
            element,
            hide() {
                element.hidden = true;
            },
            /** Outline a face of the picture; null for none. */
            outline(face) {
                outline.hidden = !face;
                if (!face) return;
                const [x0, y0, x1, y1] = face.box;
                Object.assign(outline.style, {
                    left: percent(x0), top: percent(y0), width: percent(x1 - x0), height: percent(y1 - y0),
                });
            },
            /** Show one of a run's pictures, without its halves where no face was restored; nothing if that is so of all. */
            show(pictures, index) {
                const picture = pictures[index];
                const total = pictures.length;
                const done = picture.faces.filter((face) => face.applied).length;
                const changed = pictures.some((one) => one.faces.some((face) => face.applied));
                element.hidden = !changed || wanted() === "off";
                if (element.hidden) return;
                if (fresh) element.open = wanted() === "open";
                fresh = false;
                stage.hidden = done === 0;
                before.src = picture.before;
                after.src = picture.after;
                stage.style.setProperty("--facerestore-aspect", String(picture.width / picture.height));
                stage.style.setProperty("--facerestore-width", `${picture.width}px`);
                outline.hidden = true;
                pager.hidden = total < 2;
                count.textContent = `${index + 1} / ${total}`;
                const left = picture.faces.length - done;
                const counts = ["restored:", done, ...(left ? ["·", "left alone:", left] : [])];
                const texts = picture.message ? [...counts, "·", picture.message] : counts;
                note.replaceChildren(...texts.map((text) => make("span", {text})));
            },
        };
    }

    parts.compare = {createCompare};
})();
