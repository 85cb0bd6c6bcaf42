"""The mask of a crop: bounds, feather, parsed areas, parts that are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_facerestore.errors import InputError
from lib_facerestore.faces import alignment
from lib_facerestore.options.table import MaskKind, Part
from lib_facerestore.stages import masks, parsing

from .blending_helpers import MASK, SIZE, TEMPLATE, labels_with


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
    assert steps[2] < 0.06


def test_parsing_leaves_hair_background_and_a_neighbour_alone() -> None:
    labels = labels_with((17, np.s_[:80, :]), (1, np.s_[100:150, 232:254]))
    mask = masks.build_mask(SIZE, TEMPLATE, labels)
    assert mask[128, 128] > 0.99
    assert mask[:60].max() < 0.05
    assert mask[110:140, 240:].max() < 0.05


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
