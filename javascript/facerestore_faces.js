/* Face Restore, the face strip: every found face as a button that includes it or leaves it out.
 *
 * Also the two ways between the Faces text box ("all", "largest", "1,3", "2-4") and a set of face numbers. A face here
 * is what the server sends, see lib_facerestore/webui/page/face_strip.py: {number, side, area, box, reason, applied, before, after}.
 */
(function () {
    "use strict";

    const parts = (window.facerestore_parts = window.facerestore_parts || {});
    if (parts.faces) return; // of another copy of this extension

    function make(...args) {
        return parts.page.make(...args);
    }

    /** The numbers of the faces that the text in the Faces box takes in: "none", and what cannot be read, take in none. */
    function included(text, faces) {
        const numbers = faces.map((face) => face.number);
        const word = text.trim().toLowerCase();
        if (word === "" || word === "all") return new Set(numbers);
        if (word === "largest") {
            const largest = faces.reduce((best, face) => (best && best.area >= face.area ? best : face), null);
            return new Set(largest ? [largest.number] : []);
        }
        const chosen = new Set();
        for (const item of word.replace(/\s*-\s*/g, "-").split(/[\s,]+/)) {
            const match = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(item);
            if (!match) continue;
            const last = Number(match[2] || match[1]);
            for (const number of numbers) if (number >= Number(match[1]) && number <= last) chosen.add(number);
        }
        return chosen;
    }

    /** The text for the Faces box. */
    function toText(chosen, faces) {
        if (chosen.size === 0) return "none";
        if (faces.every((face) => chosen.has(face.number))) return "all";
        return Array.from(chosen).sort((one, other) => one - other).join(",");
    }

    function card(face, toggle, look) {
        const pixels = `${face.side} px`;
        const skipped = face.reason && !face.applied;
        const button = make(
            "button",
            {
                type: "button", class: skipped ? "facerestore-face facerestore-skipped" : "facerestore-face",
                "aria-pressed": "true", "data-number": face.number,
                "aria-label": [`Face ${face.number}`, pixels, face.reason].filter(Boolean).join(", "),
                title: face.reason || null,
            },
            make(
                "span", {class: "facerestore-thumbnails"},
                face.before ? make("img", {src: face.before, alt: "", draggable: "false"}) : null,
                face.after ? make("img", {src: face.after, alt: "", draggable: "false"}) : null
            ),
            make(
                "span", {class: "facerestore-caption"},
                make("span", {class: "facerestore-number", text: face.number}),
                make("span", {class: "facerestore-side", text: pixels})
            ),
            face.reason ? make("span", {class: "facerestore-reason", text: face.reason}) : null
        );
        button.addEventListener("click", () => toggle(face.number));
        for (const name of ["mouseenter", "focus"]) button.addEventListener(name, () => look(face));
        for (const name of ["mouseleave", "blur"]) button.addEventListener(name, () => look(null));
        return button;
    }

    /** The row of faces. `toggle(number)` is called on a click; `look(face or null)` while one is pointed at. */
    function createRow(toggle, look) {
        const element = make("div", {class: "facerestore-row", role: "group", "aria-label": "Faces"});
        return {
            element,
            fill(faces) {
                element.replaceChildren(...faces.map((face) => card(face, toggle, look)));
                element.hidden = faces.length === 0;
            },
            press(chosen) {
                for (const button of element.children) {
                    button.setAttribute("aria-pressed", String(chosen.has(Number(button.dataset.number))));
                }
            },
        };
    }

    /** The strip below the accordion's controls: a button that finds faces, All and None, a status line, the row.
     *
     * `act` has help(on), detect(), toggle(number), all(), none(), and look(face or null) while one is pointed at.
     */
    function createStrip(tab, act) {
        const row = createRow(act.toggle, act.look);
        const plain = {type: "button", class: "facerestore-button"};
        const detect = make("button", {
            ...plain, id: `facerestore_${tab}_detect`, text: "Detect faces",
            title: "Find the faces of the input picture, or of the selected result",
        });
        const all = make("button", {...plain, text: "All", hidden: "", title: "Restore every face"});
        const none = make("button", {...plain, text: "None", hidden: "", title: "Restore no face, or pick a few then"});
        const status = make("span", {class: "facerestore-status", role: "status"});
        const help = make("button", {
            ...plain, class: "facerestore-button facerestore-question", text: "?", "aria-pressed": "false",
            "aria-label": "Explain the controls", title: "Explain the controls",
        });
        help.addEventListener("click", () => {
            const on = help.getAttribute("aria-pressed") !== "true";
            help.setAttribute("aria-pressed", String(on));
            act.help(on);
        });
        const element = make(
            "div", {class: "facerestore facerestore-strip", id: `facerestore_${tab}_picker`},
            make("div", {class: "facerestore-bar"}, detect, all, none, status, help),
            row.element
        );
        row.element.hidden = true;
        detect.addEventListener("click", act.detect);
        all.addEventListener("click", act.all);
        none.addEventListener("click", act.none);
        return {
            element,
            press: row.press,
            fill(faces) {
                row.fill(faces);
                all.hidden = none.hidden = faces.length < 2;
            },
            /** Each text becomes an element of its own, so that the page's translation finds it. */
            say(...texts) {
                status.replaceChildren(...texts.filter((text) => text !== "").map((text) => make("span", {text})));
            },
            busy(on) {
                detect.disabled = on;
                element.setAttribute("aria-busy", String(on));
            },
        };
    }

    parts.faces = {included, toText, createRow, createStrip};
})();
