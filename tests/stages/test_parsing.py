"""Label maps, part masks, and the networks on the oracle's numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from lib_facerestore.errors import FaceRestoreError, InputError, ModelFileError, OptionError
from lib_facerestore.faces import alignment, warping
from lib_facerestore.options.table import Options, Part
from lib_facerestore.stages import parsing
from lib_facerestore.system import facexlib_import

from ..networks.archs.conftest import LONG
from ..oracle import check, synth

TEMPLATE = alignment.ffhq_template(512)


def need_facexlib() -> None:
    try:
        facexlib_import.import_facexlib("facexlib.parsing.bisenet")
    except FaceRestoreError as error:
        pytest.skip(str(error))


def oracle(name: str) -> tuple[dict[str, torch.Tensor], Any, Any]:
    need_facexlib()
    spec, meta, gold = check.load(name)
    return synth.synth_state_dict(spec, meta.get("aliases")), synth, gold


def test_class_numbers() -> None:
    assert len(parsing.CLASSES) == 19
    assert sorted(parsing.PARSENET_TO_BISENET) == list(range(19))
    assert parsing.CLASSES[parsing.PARSENET_TO_BISENET[2]] == "nose"
    assert parsing.CLASSES[parsing.PARSENET_TO_BISENET[13]] == "hair"
    assert parsing.CLASSES[parsing.PARSENET_TO_BISENET[3]] == "glasses"


def test_face_mask_takes_the_face_only() -> None:
    labels = np.arange(19, dtype=np.uint8)[None].repeat(19, axis=0)
    inside = {parsing.CLASSES[i] for i in np.flatnonzero(parsing.face_mask(labels)[0])}
    assert {"skin", "nose", "left eye", "glasses", "mouth interior", "upper lip", "left ear"} <= inside
    assert not {"background", "hair", "hat", "neck", "cloth", "necklace", "earring"} & inside


def test_part_mask_from_labels() -> None:
    labels = np.arange(19, dtype=np.uint8)[None].repeat(19, axis=0)
    assert np.flatnonzero(parsing.part_mask(labels, ("mouth",))[0]).tolist() == [11, 12, 13]
    assert np.flatnonzero(parsing.part_mask(labels, ("teeth", "glasses"))[0]).tolist() == [6, 11]
    assert not parsing.part_mask(labels, ()).any()


def test_every_part_that_can_be_kept_has_classes() -> None:
    """So that an `Options`, which has checked its parts, is all that a mask needs."""
    assert set(parsing.PARTS) == set(get_args(Part))
    assert Options(keep="hair, eyes").keep_parts == ("eyes", "hair")
    with pytest.raises(OptionError, match="keep"):
        Options(keep="nose")


def test_eyes_behind_glasses_are_still_eyes() -> None:
    labels = np.full((512, 512), 6, np.uint8)
    mask = parsing.part_mask(labels, ("eyes",), TEMPLATE)
    assert mask[240, 193] == 1
    assert mask[240, 319] == 1
    assert 0.01 < mask.mean() < 0.1


@pytest.mark.parametrize(("part", "inside", "outside"), [
    ("eyes", [(193, 240), (319, 240)], [(256, 240), (256, 371)]),
    ("mouth", [(257, 371), (201, 371), (313, 371), (257, 395)], [(257, 314), (193, 240)]),
    ("teeth", [(257, 371)], [(195, 371), (257, 400)]),
    ("glasses", [(193, 240), (256, 245), (140, 245), (319, 270)], [(257, 330), (256, 180)]),
    ("hair", [], [(256, 60), (256, 256)]),
])  # fmt: skip
def test_part_shapes_without_a_parser(
    part: Part, inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    mask = parsing.part_mask(None, (part,), TEMPLATE, 512)
    assert all(mask[y, x] == 1 for x, y in inside)
    assert all(mask[y, x] == 0 for x, y in outside)


def test_ellipse_covers_the_face() -> None:
    mask = parsing.ellipse_mask(TEMPLATE, 512)
    assert mask.dtype == np.float32
    assert mask.min() == 0
    assert mask.max() == 1
    for x, y in TEMPLATE:
        assert mask[round(y), round(x)] == 1
    assert mask[120, 256] == 1
    assert mask[440, 256] == 1
    assert mask[20, 256] == 0
    assert mask[505, 256] == 0
    assert mask[256, 60] == 0
    assert mask[256, 452] == 0


@pytest.mark.parametrize("degrees", [-120, -35, 20, 90, 180])
def test_ellipse_follows_the_roll(degrees: float) -> None:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    turn = np.concatenate([linear, (np.full(2, 255.5) - linear @ np.full(2, 255.5))[:, None]], axis=1)
    turned = parsing.ellipse_mask(alignment.apply_affine(turn, TEMPLATE), 512)
    upright = parsing.ellipse_mask(TEMPLATE, 512)
    back = warping.warp(turned, turn, 512, 512, "zero", smooth=True)
    assert np.abs(back - upright).mean() < 0.002


def test_ellipse_of_a_turned_face_holds_its_landmarks_and_moves_to_the_cheek() -> None:
    points = TEMPLATE.copy()
    points[:, 0] = [230, 300, 300, 235, 290]  # nose towards image right
    mask = parsing.ellipse_mask(points, 512)
    assert all(mask[round(y), round(x)] == 1 for x, y in points)
    columns = np.flatnonzero(mask.any(axis=0))
    assert columns.mean() < points[:, 0].mean() - 10
    assert len(columns) < len(np.flatnonzero(parsing.ellipse_mask(TEMPLATE, 512).any(axis=0)))


def test_without_a_file_it_is_the_built_in_parser(tmp_path: Path) -> None:
    assert parsing.create_parser([tmp_path, tmp_path / "nowhere"]).name == "lite"


def test_damaged_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    need_facexlib()
    path = tmp_path / "parsing_bisenet.pth"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelFileError, match=r"parsing_bisenet\.pth: damaged.*get it again"):
        parsing.create_parser([tmp_path])
    torch.save({"some.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match="neither BiSeNet nor ParseNet"):
        parsing.create_parser([tmp_path])
    torch.save({"cp.resnet.conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(ModelFileError, match=r"looks like bisenet, but has tensors 1\d\d missing"):
        parsing.create_parser([tmp_path])


def test_bisenet_against_the_oracle(tmp_path: Path) -> None:
    state, synth, gold = oracle("parsing_bisenet")
    torch.save(state, tmp_path / "parsing_bisenet.pth")
    parser = parsing.create_parser([tmp_path])
    assert parser.name == "bisenet"
    crop = synth.pseudo_image_01(0, 512, 512)[0].transpose(1, 2, 0)
    labels = parser.masks([crop, crop[::-1].copy(), np.ascontiguousarray(crop[:256, :256])])
    assert [one.shape for one in labels] == [(512, 512), (512, 512), (256, 256)]
    sure = gold["mask_margin_sub"][0] > 1e-3
    assert sure.mean() > 0.9
    assert (labels[0][::8, ::8] == gold["mask_argmax"][0, ::8, ::8])[sure].all()
    assert (labels[0] == gold["mask_argmax"][0]).mean() > 0.999
    assert_logits(parser, synth.pseudo_image_01(0, 512, 512), gold)


def test_a_parser_is_recognised_under_any_prefix_and_wrapping_key(tmp_path: Path) -> None:
    state, synth, _ = oracle("parsing_bisenet")
    path = tmp_path / "any name.pth"
    crops = [np.ascontiguousarray(synth.pseudo_image_01(0, 64, 64)[0].transpose(1, 2, 0))]
    torch.save(state, path)
    (expected,) = parsing.load_parser(path).masks(crops)
    torch.save({"params": {f"module.{name}": value for name, value in state.items()}}, path)
    (labels,) = parsing.load_parser(path).masks(crops)
    assert len(np.unique(expected)) > 1 and (labels == expected).all()


def assert_logits(parser: Any, batch: np.ndarray, gold: Any) -> None:
    """The numbers behind the labels are the original's."""
    with torch.inference_mode():
        logits = parser._interpolated(parser._logits(torch.from_numpy(batch)), 512)
    difference = check.compare(gold, "mask_logits", logits)
    assert set(difference) == {"grid", "mid", "tl", "br"}
    assert max(difference.values()) <= 1e-4, difference


@pytest.mark.skipif(not LONG, reason="469 GFLOP; set FACERESTORE_LONG_TESTS=1")
def test_parsenet_against_the_oracle(tmp_path: Path) -> None:
    """At 512 px, for which the oracle has its numbers; below, at the 256 px that it runs at."""
    state, synth, gold = oracle("parsing_parsenet")
    torch.save(state, tmp_path / "parsing_parsenet.pth")
    assert_logits(parsing.create_parser([tmp_path]), synth.pseudo_image_01(0, 512, 512), gold)


def test_parsenet_runs_at_256_in_bisenet_classes(tmp_path: Path) -> None:
    state, synth, _ = oracle("parsing_parsenet")
    torch.save(state, tmp_path / "parsing_parsenet.pth")
    parser = parsing.create_parser([tmp_path])
    assert parser.name == "parsenet"
    crop = np.ascontiguousarray(synth.pseudo_image_01(0, 256, 256)[0].transpose(1, 2, 0))
    labels = parser.masks([crop])[0]
    assert labels.shape == (256, 256)
    assert labels.dtype == np.uint8
    assert labels.max() < 19
    from facexlib.parsing.parsenet import ParseNet

    network = ParseNet(in_size=512, out_size=512, parsing_ch=19).eval()
    network.load_state_dict(state)
    with torch.inference_mode():
        raw = network(torch.from_numpy(crop.transpose(2, 0, 1)[None]) * 2 - 1)[0].argmax(1)[0].numpy()
    assert (labels == parsing.PARSENET_TO_BISENET[raw]).mean() > 0.999  # near ties may flip


def test_crops_must_be_square_rgb(tmp_path: Path) -> None:
    state, _, _ = oracle("parsing_bisenet")
    torch.save(state, tmp_path / "parsing_bisenet.pth")
    parser = parsing.create_parser([tmp_path])
    with pytest.raises(InputError, match="square"):
        parser.masks([np.zeros((8, 9, 3), np.float32)])
