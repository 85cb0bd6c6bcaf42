"""The mask of a crop: bounds, the whole face, feather, parsed areas, what is in front, parts that are kept."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_facerestore.errors import InputError
from lib_facerestore.faces import alignment
from lib_facerestore.options.table import MaskKind, Part
from lib_facerestore.stages import masks, parsing

from .blending_helpers import MASK, SIZE, TEMPLATE, labels_with, paste, placed


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["parsing", "ellipse", "box"]), st.floats(0, 0.5), st.sampled_from([64, 128, 256]), st.booleans()
)
def test_mask_is_bounded_and_zero_on_the_rim(kind: MaskKind, feather: float, size: int, parsed: bool) -> None:
    labels = np.full((size, size), 1, np.uint8) if parsed else None  # skin up to the rim
    mask = masks.build_mask(size, alignment.ffhq_template(size), labels, kind, feather, ())
    assert mask.dtype == np.float32
    assert mask.shape == (size, size)
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert mask[size // 2, size // 2] > 0.4
    assert not mask[:2].any()
    assert not mask[-2:].any()
    assert not mask[:, :2].any()
    assert not mask[:, -2:].any()


@pytest.mark.parametrize("kind", ["ellipse", "parsing"])
@pytest.mark.parametrize("feather", [0.0, 0.1, 0.3, 0.5])
def test_the_middle_of_the_face_is_wholly_restored_whatever_the_feather(kind: MaskKind, feather: float) -> None:
    labels = np.where(parsing.ellipse_mask(TEMPLATE, SIZE, 0.9) > 0.5, 1, 0).astype(np.uint8)
    assert masks.build_mask(SIZE, TEMPLATE, labels, kind, feather, ()).max() > 0.999


def test_feather_is_soft_and_grows() -> None:
    steps = [np.abs(np.diff(masks.build_mask(SIZE, TEMPLATE, feather=f), axis=1)).max() for f in (0, 0.05, 0.1, 0.3)]
    assert steps[0] > 0.4
    assert steps == sorted(steps, reverse=True)
    assert steps[2] < 0.09


# Landmarks, and every second point of the face oval of MediaPipe's mesh (Apache-2.0), in crops of 256 px of five sample
# photographs: frontal, and turned by up to about 60 degrees to both sides.
OVALS = [
    ([[97, 119], [159, 119], [128, 160], [101, 185], [156, 185]],
     [[123, 65], [161, 66], [188, 76], [199, 95], [202, 123], [200, 154], [190, 187], [172, 211], [154, 227],
      [129, 234], [106, 228], [90, 214], [74, 192], [64, 160], [61, 130], [60, 102], [66, 83], [87, 70]]),
    ([[102, 119], [159, 119], [117, 151], [110, 189], [153, 189]],
     [[122, 81], [157, 81], [186, 90], [200, 107], [204, 131], [203, 156], [191, 184], [172, 203], [152, 214],
      [128, 218], [110, 211], [101, 199], [95, 181], [90, 156], [88, 132], [84, 110], [84, 94], [97, 84]]),
    ([[99, 119], [150, 118], [145, 153], [104, 189], [143, 188]],
     [[135, 69], [159, 76], [166, 94], [159, 117], [150, 145], [147, 172], [145, 198], [143, 212], [138, 221],
      [124, 226], [100, 224], [77, 215], [50, 198], [33, 169], [29, 138], [36, 106], [58, 81], [97, 67]]),
    ([[114, 121], [152, 122], [102, 151], [118, 187], [154, 187]],
     [[121, 80], [153, 76], [194, 86], [224, 109], [238, 141], [236, 175], [216, 207], [182, 224], [156, 232],
      [134, 234], [126, 229], [127, 222], [133, 208], [136, 181], [134, 152], [122, 125], [110, 103], [108, 87]]),
    ([[100, 119], [148, 118], [147, 155], [105, 189], [140, 187]],
     [[134, 72], [150, 79], [152, 94], [143, 115], [134, 140], [132, 167], [132, 193], [134, 208], [132, 216],
      [122, 220], [102, 217], [80, 209], [53, 191], [37, 160], [35, 129], [45, 99], [69, 77], [104, 68]]),
]  # fmt: skip


@pytest.mark.parametrize("feather", [0.0, 0.1, 0.2, 0.5])
@pytest.mark.parametrize(("landmarks", "oval"), OVALS)
def test_the_ellipse_restores_the_whole_oval_of_a_face_turned_or_not(
    landmarks: list[list[int]], oval: list[list[int]], feather: float
) -> None:
    inside = cv2.fillPoly(np.zeros((SIZE, SIZE), np.uint8), [np.array(oval, np.int32)], 1) > 0
    mask = masks.build_mask(SIZE, landmarks, None, "ellipse", feather)
    assert (mask[inside] < 0.9).mean() < 0.1
    assert all(mask[y, x] == 1 for x, y in landmarks)
    if feather <= 0.1:
        assert (mask > 0.05).sum() < 2.6 * inside.sum()  # and not just everything


@pytest.mark.parametrize("kind", ["parsing", "ellipse", "box"])
@pytest.mark.parametrize("feather", [0.0, 0.05, 0.1, 0.2, 0.35, 0.5])
def test_the_feather_never_lowers_the_opacity_of_the_face(kind: MaskKind, feather: float) -> None:
    """At 0.2 the corners of the mouth had an opacity of 0.85, at 0.5 of 0.6."""
    face = parsing.ellipse_mask(TEMPLATE, SIZE, 0.9) > 0.5
    labels = np.where(face, 1, 0).astype(np.uint8)
    mask = masks.build_mask(SIZE, TEMPLATE, labels, kind, feather)
    assert mask[face].min() > 0.97
    assert all(mask[round(y), round(x)] == 1 for x, y in TEMPLATE)


@pytest.mark.parametrize("feather", [0.1, 0.3])
def test_the_mask_ends_softly_at_one_and_a_half_times_the_box(feather: float) -> None:
    """An ear and its soft edge reached further."""
    labels = labels_with((1, np.s_[100:180, 30:]))
    mask = masks.build_mask(SIZE, TEMPLATE, labels, "parsing", feather)
    matrix = placed(2.0, 300, 300)
    box = (175.0, 150.0, 435.0, 450.0)
    near = masks.near_the_box(mask, TEMPLATE, matrix, box, feather)
    image = np.zeros((600, 600, 3), np.uint8)
    ones, zeros = np.ones((SIZE, SIZE, 3), np.float32), np.zeros((SIZE, SIZE, 3), np.float32)
    assert paste(image, ones, zeros, mask, matrix)[2] > 512, "without it, the paste reaches further"
    image[:] = 0
    assert paste(image, ones, zeros, near, matrix)[2] <= 501
    face = parsing.ellipse_mask(TEMPLATE, SIZE) == 1
    assert (near <= mask).all() and (near[face] == mask[face]).all()
    steps = np.abs(np.diff(near[140, 200:], axis=0)).max()
    assert steps < 2 / (min(feather, 0.1) * masks.FACE_SHARE * SIZE)
    tiny_box = (299.0, 299.0, 301.0, 301.0)  # a detector's error: the face is not cut
    assert masks.near_the_box(mask, TEMPLATE, matrix, tiny_box, feather)[face].min() > 0.9


def test_what_is_in_front_of_the_face_stays_as_it_was() -> None:
    hand = np.s_[165:205, 80:150]
    labels = labels_with((0, hand), (17, np.s_[:75, :]))
    for feather in (0.0, 0.1, 0.5):
        mask = masks.build_mask(SIZE, TEMPLATE, labels, "parsing", feather)
        assert not mask[168:202, 83:147].any()
        assert not mask[:72].any()
        assert mask[145, 100] == 1  # 20 px above the hand
        assert mask[100, 128] == 1
    labels = labels_with((0, np.s_[150:152, 120:122]))  # a speck is an error of the parser
    assert masks.build_mask(SIZE, TEMPLATE, labels)[150, 120] == 1


def test_parsing_leaves_hair_background_and_a_neighbour_alone() -> None:
    labels = labels_with((17, np.s_[:80, :]), (1, np.s_[100:150, 232:254]))
    mask = masks.build_mask(SIZE, TEMPLATE, labels)
    assert mask[128, 128] > 0.99
    assert mask[:60].max() < 0.05
    assert mask[110:140, 240:].max() < 0.05


@pytest.mark.parametrize("kind", ["parsing", "ellipse", "box"])
def test_keep_hair_also_keeps_thin_strands_and_hair_inside_of_any_shape(kind: MaskKind) -> None:
    points = alignment.ffhq_template(512)
    labels = np.zeros((512, 512), np.uint8)  # 1 is skin, 17 hair
    labels[parsing.ellipse_mask(points, 512) > 0.5] = 1
    labels[:150][labels[:150] == 1] = 17
    labels[150:260, 300:304] = 17
    fringe, strand = labels == 17, np.zeros((512, 512), bool)
    strand[170:250, 300:304], fringe[150:] = True, False
    plain, kept = (masks.build_mask(512, points, labels, kind, keep=keep) for keep in ((), ("hair",)))
    assert kept[fringe].max() == kept[strand].max() == 0
    assert plain[strand].min() > 0.9
    assert plain[fringe].mean() < 0.01 if kind == "parsing" else plain[fringe].mean() > 0.99
    below = (slice(150, 200), 256)  # the restored skin begins further away
    assert (plain[below] > 0.5).argmax() < (kept[below] > 0.5).argmax() <= 16


def test_no_face_in_the_labels_falls_back_on_the_ellipse() -> None:
    nothing = np.zeros((SIZE, SIZE), np.uint8)
    assert np.array_equal(masks.build_mask(SIZE, TEMPLATE, nothing), MASK)
    few = nothing.copy()
    few[120:130, 120:130] = 10
    assert np.array_equal(masks.build_mask(SIZE, TEMPLATE, few), MASK)


@pytest.mark.parametrize("kind", ["parsing", "ellipse", "box"])
@pytest.mark.parametrize("part", list(parsing.PARTS))
def test_kept_parts_are_exactly_zero(kind: MaskKind, part: Part) -> None:
    where = np.s_[110:130, 80:110]
    labels = labels_with((parsing.PARTS[part][0], where))
    mask = masks.build_mask(SIZE, TEMPLATE, labels, kind, 0.1, (part,))
    assert not mask[where].any()
    assert mask[200, 128] > 0.9 or part == "mouth"
    if part != "hair":
        shape = parsing.part_mask(None, (part,), TEMPLATE, SIZE) > 0
        assert not masks.build_mask(SIZE, TEMPLATE, None, kind, 0.1, (part,))[shape].any()


def test_bad_mask_arguments() -> None:
    with pytest.raises(InputError, match="label map"):
        masks.build_mask(SIZE, TEMPLATE, np.zeros((8, 8), np.uint8))
