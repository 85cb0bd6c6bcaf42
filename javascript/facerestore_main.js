/* Face Restore, the wiring: one strip and one panel per tab, kept in step with the galleries and the Faces text boxes.
 *
 * The server answers through gradio itself: a hidden text box and two hidden buttons go in, a hidden piece of HTML with
 * JSON in an attribute comes out (lib_facerestore/webui/page/face_strip.py). Nothing is polled: the WebUI's onAfterUiUpdate calls
 * `update`, or, on a page that has no such function, an observer of the page does.
 */
(function () {
    "use strict";

    const parts = (window.facerestore_parts = window.facerestore_parts || {});
    if (parts.started) return; // by another copy of this extension
    parts.started = true;

    const PATIENCE = 120000; // milliseconds until "Detect faces" gives up waiting for an answer
    const SETTLE = 250; // milliseconds in which a page or a gallery may go on changing before it is looked at
    const INPUT = "Input picture";
    const LAST = "Last run";
    const SAME_PICTURE = 12; // mean difference, in levels, below which two small pictures show the same
    const tabs = new Map();

    function createTab(name) {
        const page = parts.page;
        const ids = {
            faces: `facerestore_${name}_faces`,
            data: `facerestore_${name}_strip`,
            message: `facerestore_${name}_strip_image`,
            detect: `facerestore_${name}_strip_detect`,
            last: `facerestore_${name}_strip_last`,
        };
        const state = {
            help: false, faces: [], stamp: "", run: "", pictures: [], index: -1, sources: new Set(),
            signature: "", gallery: null, source: "", timer: 0, waiting: 0, turn: Promise.resolve(),
        };
        const strip = parts.faces.createStrip(name, {
            detect,
            toggle,
            help: (on) => {
                state.help = on;
                page.brief(name, on);
            },
            look: (face) => panel.outline(state.source === LAST ? face : null),
            all: () => write(state.faces, state.faces),
            none: () => write([], state.faces),
        });
        const panel = parts.compare.createCompare(name, {turn});

        function chosen(faces) {
            return parts.faces.included(page.text(ids.faces), faces);
        }

        function press() {
            strip.press(chosen(state.faces));
        }

        function describe() {
            const {source, faces} = state;
            if (!source) strip.say();
            else if (!faces.length) strip.say(source, "·", "no face was found");
            else if (chosen(faces).size) strip.say(source, "·", "faces:", String(faces.length));
            else strip.say(source, "·", "faces:", String(faces.length), "·", "none is chosen");
        }

        /** Put some of all faces into the Faces box. */
        function write(faces, all) {
            const numbers = new Set(faces.map((face) => face.number));
            if (page.setText(ids.faces, parts.faces.toText(numbers, all))) describe();
            else strip.say("The Faces box is not on the page yet: open the section that it is in."); // gradio 6
            press();
        }

        function toggle(number) {
            const faces = state.faces;
            const numbers = chosen(faces);
            if (!numbers.delete(number)) numbers.add(number);
            write(faces.filter((face) => numbers.has(face.number)), faces);
        }

        function setFaces(faces, source) {
            state.faces = faces;
            state.source = source;
            strip.fill(faces);
            describe();
            press();
        }

        /** Hand a message to the server, after those before it; false where its text box is not on the page. */
        function ask(button, message) {
            if (!page.find(ids.message)) return false;
            const pause = () => new Promise((resolve) => setTimeout(resolve, 60)); // gradio is not instant
            state.turn = state.turn.then(() => page.setText(ids.message, message)).then(pause);
            state.turn = state.turn.then(() => page.press(button)).then(pause);
            return true;
        }

        function detect() {
            const found = page.pictureToSearch(name);
            if (!found.image) {
                setFaces([], "");
                strip.say("There is no picture here yet.");
                return;
            }
            let message;
            try {
                message = page.toMessage(found.image);
            } catch (error) {
                strip.say("The browser does not let this picture be read.");
                return;
            }
            state.source = found.source;
            strip.busy(true);
            strip.say("Looking for faces…");
            clearTimeout(state.waiting);
            state.waiting = setTimeout(() => {
                strip.busy(false);
                strip.say("There was no answer; the WebUI's console may say why.");
            }, PATIENCE);
            ask(ids.detect, message);
        }

        function detected(answer) {
            clearTimeout(state.waiting);
            strip.busy(false);
            setFaces(answer.faces || [], state.source);
            if (answer.message) strip.say(answer.message);
        }

        function show(index) {
            state.index = Math.max(0, Math.min(state.pictures.length - 1, index));
            const picture = state.pictures[state.index];
            panel.show(state.pictures, state.index);
            setFaces(picture.faces, LAST);
        }

        function turn(step) {
            const count = state.pictures.length;
            if (count) show((state.index + step + count) % count);
        }

        async function printOf(picture) {
            if (!picture.print) {
                const image = new Image();
                image.src = picture.after;
                await image.decode();
                picture.print = page.fingerprint(image);
            }
            return picture.print;
        }

        /** The index of the run's picture that shows what the gallery shows, or -1. */
        async function match(image) {
            const print = page.fingerprint(image);
            const pictures = state.pictures;
            let best = {index: -1, distance: SAME_PICTURE};
            for (let index = 0; index < pictures.length; index++) {
                const distance = page.distance(print, await printOf(pictures[index]));
                if (distance < best.distance) best = {index, distance};
            }
            return pictures === state.pictures ? best.index : -1;
        }

        /** Show the picture that the gallery shows. A crop or a grid looks like none of them: then its place decides. */
        async function follow() {
            if (!state.pictures.length) return;
            const result = page.selectedResult(name);
            const found = result.image ? await match(result.image).catch(() => -1) : -1;
            if (!state.pictures.length) return;
            const first = Math.max(0, result.count - state.pictures.length);
            const index = found >= 0 ? found : Math.max(0, result.index - first);
            if (index !== state.index) show(index);
        }

        function drop() {
            state.pictures = [];
            state.index = -1;
            state.sources.clear();
            panel.hide();
            if (state.source !== INPUT) setFaces([], ""); // they were those of a picture that is gone
        }

        /** The gallery has changed, and the server has answered about the last run with restored faces. */
        function finished(answer) {
            const sources = page.gallerySources(name);
            if (answer.peek || !sources.length) {
                state.run = answer.run || "";
                return;
            }
            if (answer.same) {
                // a gallery that is filled bit by bit keeps some pictures; one that keeps none is of a later run
                if (!sources.some((source) => state.sources.has(source))) drop();
                else sources.forEach((source) => state.sources.add(source));
                return;
            }
            drop();
            state.run = answer.run || "";
            state.pictures = answer.pictures || [];
            state.sources = new Set(sources);
            follow();
        }

        function read() {
            const holder = page.find(ids.data);
            const node = holder && holder.querySelector("[data-facerestore]");
            if (!node) return;
            let answer;
            try {
                answer = JSON.parse(node.dataset.facerestore);
            } catch (error) {
                return;
            }
            node.removeAttribute("data-facerestore"); // megabytes, read once
            if (answer.stamp === state.stamp) return;
            state.stamp = answer.stamp;
            if (answer.kind === "last") finished(answer);
            else detected(answer);
        }

        function mount() {
            const holder = page.find(ids.data);
            page.brief(name, state.help);
            if (holder && !strip.element.isConnected) {
                holder.after(strip.element);
                // a run from before this page was opened is not shown: the gallery holds no picture of it
                ask(ids.last, JSON.stringify({peek: true}));
                look();
            }
            const gallery = page.gallery(name);
            if (!gallery) return;
            if (!panel.element.isConnected) {
                const above = [`image_buttons_${name}`, `${name}_gallery_container`].map(page.find).find(Boolean);
                (above || gallery).after(panel.element);
            }
            if (state.gallery !== gallery) {
                state.gallery = gallery;
                // choosing another picture changes attributes only, which the page's own observer does not report
                const observer = new MutationObserver(look);
                observer.observe(gallery, {
                    subtree: true, childList: true, attributes: true,
                    attributeFilter: ["src", "class", "aria-selected"],
                });
                look();
            }
        }

        function look() {
            clearTimeout(state.timer);
            state.timer = setTimeout(() => {
                const signature = page.gallerySources(name).join("\n");
                if (signature === state.signature) {
                    follow();
                    return;
                }
                if (!signature) drop();
                else if (!ask(ids.last, JSON.stringify({known: state.run}))) return; // asked once the accordion is open
                state.signature = signature;
            }, SETTLE);
        }

        strip.element.addEventListener("focusin", press); // a paste from an infotext changes the box without an event
        strip.element.addEventListener("pointerenter", press);
        return {
            update() {
                mount();
                read();
            },
            typed(target) {
                if (!target.closest || !target.closest("#" + CSS.escape(ids.faces))) return;
                describe();
                press();
            },
        };
    }

    function update() {
        if (!parts.page || !parts.faces || !parts.compare) return; // the other scripts are not all loaded yet
        for (const name of parts.page.tabs()) {
            if (!tabs.has(name)) tabs.set(name, createTab(name));
        }
        for (const tab of tabs.values()) tab.update();
    }

    function start() {
        document.addEventListener("input", (event) => tabs.forEach((tab) => tab.typed(event.target)), true);
        if (typeof onAfterUiUpdate === "function") {
            onAfterUiUpdate(update);
            if (typeof onUiLoaded === "function") onUiLoaded(update);
            return;
        }
        let timer = 0;
        new MutationObserver(() => {
            clearTimeout(timer);
            timer = setTimeout(update, SETTLE);
        }).observe(document.documentElement, {childList: true, subtree: true});
        update();
    }

    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
})();
