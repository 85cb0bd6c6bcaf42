/* Face Restore, what the page shows: tabs, text boxes, galleries and input pictures, whichever gradio drew them.
 *
 * Reads the page and never adds to it. Every function copes with elements that are missing. The scripts of this folder
 * share one global object, `facerestore_parts`, and may be loaded in any order. Pixels are those of the picture itself.
 */
(function () {
    "use strict";

    const parts = (window.facerestore_parts = window.facerestore_parts || {});
    if (parts.page) return; // of another copy of this extension

    const SENT_SIDE = 2560; // the longer side, in pixels, of a picture that is sent to have its faces found
    const PRINT_SIDE = 24; // pictures are compared as squares of so many pixels
    const INPUTS = {
        img2img: ["img2img_image", "img2img_sketch", "img2maskimg", "inpaint_sketch", "img_inpaint_base"],
        extras: ["extras_image"],
    };

    function root() {
        const app = document.querySelector("gradio-app");
        return app && app.shadowRoot ? app.shadowRoot : document;
    }

    function find(id) {
        return root().querySelector("#" + CSS.escape(id));
    }

    /** The names of all tabs that have a face strip, such as "txt2img". */
    function tabs() {
        const names = new Set();
        for (const element of root().querySelectorAll('[id^="facerestore_"][id$="_strip"]')) {
            names.add(element.id.slice("facerestore_".length, -"_strip".length));
        }
        return names;
    }

    function box(id) {
        const holder = find(id);
        return holder ? holder.querySelector("textarea, input") : null;
    }

    function text(id) {
        const field = box(id);
        return field ? field.value : "";
    }

    /** Write into a gradio text box so that gradio takes it; false when there is no such box. */
    function setText(id, value) {
        const field = box(id);
        if (!field) return false;
        field.value = value;
        field.dispatchEvent(new Event("input", {bubbles: true}));
        return true;
    }

    function press(id) {
        const holder = find(id);
        const button = holder && (holder.matches("button") ? holder : holder.querySelector("button"));
        if (button) button.click();
        return Boolean(button);
    }

    function shown(element) {
        return element.getClientRects().length > 0;
    }

    function loaded(image) {
        return image.complete && image.naturalWidth > 0;
    }

    function gallery(tab) {
        return find(`${tab}_gallery`);
    }

    function galleryImages(tab) {
        const holder = gallery(tab);
        if (!holder) return [];
        // while one picture is shown large, some gradios keep the grid as well, so that each picture is there twice
        for (const rule of [".thumbnails img", ".thumbnail-item img", "img"]) {
            const images = Array.from(holder.querySelectorAll(rule)).filter(
                (image) => !image.closest(".livePreview, .facerestore")
            );
            if (images.length) return images;
        }
        return [];
    }

    /** The addresses of what a gallery holds, whichever of it is selected: they change when a run has finished. */
    function gallerySources(tab) {
        return Array.from(new Set(galleryImages(tab).map((image) => image.src)));
    }

    /** The picture of the gallery that the user looks at: {image, index, count}; index is -1 while none is chosen. */
    function selectedResult(tab) {
        const images = galleryImages(tab);
        const index = images.findIndex((image) => {
            const item = image.closest(".thumbnail-item");
            return item && (item.classList.contains("selected") || item.getAttribute("aria-selected") === "true");
        });
        const large = Array.from((gallery(tab) || document.createElement("div")).querySelectorAll("img")).find(
            (image) => loaded(image) && !image.closest(".thumbnail-item, .livePreview, .facerestore")
        );
        const image = large || images[index] || images[0] || null;
        return {image: image && loaded(image) ? image : null, index, count: images.length};
    }

    /** What "Detect faces" looks at: {image, source}, the input picture if there is one, else the selected result. */
    function pictureToSearch(tab) {
        for (const id of INPUTS[tab] || [`${tab}_image`, `${tab}_input`]) {
            const holder = find(id);
            if (!holder || !shown(holder)) continue;
            const image = Array.from(holder.querySelectorAll("img")).find(loaded);
            if (image) return {image, source: "Input picture"};
        }
        return {image: selectedResult(tab).image, source: "Selected result"};
    }

    /** The picture as JSON text for the server: a JPEG data URL, and the size that the picture really has. */
    function toMessage(image) {
        const width = image.naturalWidth;
        const height = image.naturalHeight;
        const scale = Math.min(1, SENT_SIDE / Math.max(width, height));
        const canvas = document.createElement("canvas");
        canvas.width = Math.max(1, Math.round(width * scale));
        canvas.height = Math.max(1, Math.round(height * scale));
        const pen = canvas.getContext("2d");
        pen.imageSmoothingQuality = "high";
        pen.drawImage(image, 0, 0, canvas.width, canvas.height);
        return JSON.stringify({image: canvas.toDataURL("image/jpeg", 0.93), width, height});
    }

    /** A tiny copy of a picture, to tell whether two pictures show the same; null when it cannot be read. */
    function fingerprint(image) {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = PRINT_SIDE;
        const pen = canvas.getContext("2d", {willReadFrequently: true});
        pen.imageSmoothingQuality = "high";
        try {
            pen.drawImage(image, 0, 0, PRINT_SIDE, PRINT_SIDE);
            const aspect = image.naturalWidth / image.naturalHeight;
            return {aspect, pixels: pen.getImageData(0, 0, PRINT_SIDE, PRINT_SIDE).data};
        } catch (error) {
            return null; // a picture of another site may not be read
        }
    }

    /** How far apart two fingerprints are, in levels of 0 to 255; Infinity for pictures of another shape. */
    function distance(one, other) {
        if (!one || !other || Math.abs(Math.log(one.aspect / other.aspect)) > 0.03) return Infinity;
        let sum = 0;
        for (let i = 0; i < one.pixels.length; i++) sum += Math.abs(one.pixels[i] - other.pixels[i]);
        return sum / (PRINT_SIDE * PRINT_SIDE * 3);
    }

    /** Hide the help of a tab's controls, which then shows on hover; `on` shows it below the labels too.
     *
     * Called again after each change of the page, since gradio may draw its elements anew.
     */
    function brief(tab, on) {
        const accordion = find(`facerestore_${tab}`);
        if (!accordion) return;
        accordion.classList.toggle("facerestore-brief", !on);
        for (const label of accordion.querySelectorAll('[data-testid="block-info"]')) {
            const help = label.nextElementSibling;
            if (help && help.tagName === "DIV" && !label.title) label.title = help.textContent.trim();
        }
    }

    /** Make an element: attributes by name ("text" is its text), then children; null children are left out. */
    function make(tag, attributes, ...children) {
        const element = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes || {})) {
            if (name === "text") element.textContent = value;
            else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
        }
        element.append(...children.filter((child) => child !== null));
        return element;
    }

    parts.page = {
        root, find, tabs, text, setText, press, gallery, gallerySources, selectedResult, pictureToSearch, toMessage,
        fingerprint, distance, brief, make,
    };
})();
