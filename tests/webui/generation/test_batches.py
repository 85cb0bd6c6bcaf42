"""The Script with many pictures: one call of the network, a text for each, several generations in one job."""

from __future__ import annotations

from typing import Any

import PIL.Image

from lib_facerestore.webui import infotext, service
from lib_facerestore.webui.request import STAGES

from ..double import Host
from ..helpers import Known, photo, without_face
from .helpers import TITLE, args, arrays, equal, keys, start


def test_a_batch_of_four_is_one_call_of_the_network(host: Host, known: Known) -> None:
    start(host)
    pictures = [photo(seed) for seed in range(4)]
    expected = [known.restored(picture) for picture in pictures]
    done = host.run("txt2img", args=args(), decoded=pictures, batch_size=4)
    assert known.batches == [8]
    assert all(equal(a, b) for a, b in zip(arrays(done), expected, strict=True))


def test_batches_keep_their_own_texts_and_the_grid_gets_no_stale_one(host: Host, known: Known) -> None:
    start(host)
    pictures = [photo(0), without_face(1), photo(2), without_face(3)]
    for stage in STAGES:
        done = host.run("txt2img", args=args(stage=stage), decoded=pictures, batch_size=2, n_iter=2)
        told = [keys(text)[infotext.RESULT] for text in done.infotexts]
        assert told[1:] == ["2 restored", "no face was found"] * 2
        assert told[0].startswith("4 restored") and "in 4 pictures" in told[0]
    again = host.run("txt2img", args={TITLE: [False]}, decoded=pictures, batch_size=2)
    assert all(not keys(text) for text in again.infotexts)


def test_a_job_of_several_generations_is_kept_together_for_the_strip(host: Host, known: Known) -> None:
    """As img2img's tab Batch does: the same `p`, once for each picture."""
    start(host)
    process, state = host.modules.processing.process_images, host.shared.state
    for _ in range(2):
        state.begin(job="img2img")
        p = host.make_p("txt2img", args(), decoded=[photo()])
        for picture in (photo(0), without_face(), photo(1)):
            p.decoded = [picture]
            told = process(p).infotexts
        state.end()
        kept = service.last_run("txt2img")
        assert [len(one.faces) for one in kept] == [2, 0, 2] and keys(told[0])[infotext.RESULT] == "2 restored"
    host.run("txt2img", args=args(), decoded=[photo()])
    assert len(service.last_run("txt2img")) == 1


def test_img2img_batch_uses_p_again(host: Host, known: Known) -> None:
    start(host)
    fields: dict[str, Any] = {"init_images": [PIL.Image.fromarray(photo(5))]}
    p = host.make_p("img2img", args(), decoded=[photo()], **fields)
    first = host.modules.processing.process_images(p)
    p.decoded = [without_face()]
    second = host.modules.processing.process_images(p)
    assert keys(first.infotexts[0])[infotext.RESULT] == "2 restored"
    assert keys(second.infotexts[0])[infotext.RESULT] == "no face was found" and equal(second.images[0], without_face())
    host.shared.state.interrupt()
    third = host.modules.processing.process_images(p)
    assert third.images == [] and keys(third.infotexts[0]) == {}
