"""Faces: valid by construction, numbered the same whatever the order they came in, chosen or left out for a reason."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_facerestore.errors import InputError
from lib_facerestore.faces.face import (
    Face,
    FaceReport,
    missing_numbers,
    no_such_face,
    number_faces,
    reasons_together,
    select_faces,
)
from lib_facerestore.options.table import Options, Order

ORDERS: tuple[Order, ...] = get_args(Order)
POINTS = [[3.0, 4.0], [7.0, 4.0], [5.0, 6.0], [3.5, 8.0], [6.5, 8.0]]


def make(x: float, y: float, side: float, score: float = 0.9, number: int = 0, height: float | None = None) -> Face:
    """A face whose box is centred on (x, y)."""
    half, half_height = side / 2, (side if height is None else height) / 2
    points = np.array(POINTS, np.float32) * np.float32(side / 10) + np.array([x - half, y - half], np.float32)
    return Face(number, (x - half, y - half_height, x + half, y + half_height), points, score)


# Few distinct values, so that ties are common.
some_faces = st.lists(
    st.builds(
        make,
        x=st.sampled_from([-3.0, 10.0, 10.5, 50.0]),
        y=st.sampled_from([0.0, 10.0, 40.0]),
        side=st.sampled_from([8.0, 20.0, 20.25, 64.0]),
        score=st.sampled_from([0.0, 0.5, 1.0]),
        number=st.integers(0, 9),
    ),
    max_size=8,
)
some_options = st.builds(
    lambda low, high, faces, most: Options(min_face=min(low, high or low), max_face=high, faces=faces, max_faces=most),
    low=st.sampled_from([0, 8, 9, 20]),
    high=st.sampled_from([0, 20, 64]),
    faces=st.sampled_from(["all", "none", "largest", "1", "2,4", "1-3,9"]),
    most=st.integers(0, 3),
)


# Face


def test_face_measures() -> None:
    face = Face(1, (10, 20, 40, 60), np.zeros((5, 2)), 1)  # type: ignore[arg-type]
    assert (face.width, face.height, face.side, face.area, face.centre) == (30, 40, 40, 1200, (25, 40))
    assert [type(value) for value in (*face.box, face.score)] == [float] * 5


def test_landmarks_are_a_read_only_float32_copy() -> None:
    points = np.array(POINTS)
    face = Face(0, (0, 0, 9, 9), points, 0.5)
    points[:] = 0
    assert face.landmarks.dtype == np.float32
    assert face.landmarks.tolist() == POINTS
    with pytest.raises(ValueError, match="read-only"):
        face.landmarks[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        face.number = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *[("number", bad) for bad in (-1, 1.0, True, None, "1")],
        *[("box", bad) for bad in ((0, 0, 1), (0, 0, 1, 1, 1), None, 5, "abcd")],
        *[("box", bad) for bad in ((0, 0, float("nan"), 1), (0, 0, 1, np.inf))],
        *[("box", bad) for bad in ((1, 0, 1, 1), (2, 0, 1, 1), (0, 1, 1, 1), (0, 2, 1, 1))],
        *[("landmarks", bad) for bad in (POINTS[:4], np.zeros((2, 5)), np.zeros(10), None, "points", [[1], [1, 2]])],
        *[("landmarks", np.full((5, 2), bad)) for bad in (np.nan, np.inf, 1e300)],
        *[("score", bad) for bad in (-0.01, 1.01, float("nan"), True, "0.5", None)],
    ],
)
def test_face_refuses_and_names_the_field(name: str, bad: Any) -> None:
    good: dict[str, Any] = {"number": 1, "box": (0, 0, 9, 9), "landmarks": POINTS, "score": 0.5}
    assert Face(**good)
    with pytest.raises(InputError, match=f"^{name}: "):
        Face(**good | {name: bad})


def test_faces_compare_and_hash_by_value() -> None:
    face = make(10, 10, 20, number=1)
    twin = Face(np.int64(1), list(face.box), face.landmarks.astype(np.float64), face.score)  # type: ignore[arg-type]
    assert face == twin
    assert hash(face) == hash(twin)
    assert len({face, twin}) == 1
    assert face == pickle.loads(pickle.dumps(face))
    moved = face.landmarks + np.float32(0.5)
    changes: list[dict[str, Any]] = [{"number": 2}, {"box": (0, 0, 1, 1)}, {"landmarks": moved}, {"score": 0.1}]
    assert all(dataclasses.replace(face, **change) != face for change in changes)
    assert face != "face"
    signs = [Face(0, (zero, 0, 1, 1), np.full((5, 2), zero), zero) for zero in (0.0, -0.0)]
    assert signs[0] == signs[1]
    assert hash(signs[0]) == hash(signs[1])


def test_face_to_dict_is_plain_json() -> None:
    face = Face(3, (1.006, 2, 30.123, 40), np.array(POINTS) + 1 / 3, np.float32(0.7))  # type: ignore[arg-type]
    record = json.loads(json.dumps(face.to_dict()))
    assert list(record) == ["number", "box", "landmarks", "score"]
    assert record["number"] == 3
    assert record["box"] == [1.01, 2.0, 30.12, 40.0]
    assert record["score"] == 0.7
    assert record["landmarks"] == [[round(x + 1 / 3, 2), round(y + 1 / 3, 2)] for x, y in POINTS]


# FaceReport


def test_report_carries_the_face_and_what_was_done() -> None:
    face = make(10, 10, 20, number=2)
    timings = {"restore": 0.123456}
    report = FaceReport.of(face, "lite", True, timings=timings)
    timings.clear()
    assert report.face == face
    assert report.applied
    assert report.reason == ""
    assert report.timings == {"restore": 0.123456}
    assert report == FaceReport(face.box, face.landmarks, face.score, 2, "lite", True, "", {"restore": 0.123456})
    assert report != dataclasses.replace(report, timings={})
    assert len({report, dataclasses.replace(report)}) == 1
    record = json.loads(json.dumps(report.to_dict()))
    assert {key: record[key] for key in face.to_dict()} == face.to_dict()
    assert [record[key] for key in ("model", "applied", "reason", "timings")] == ["lite", True, "", {"restore": 0.1235}]


def test_a_face_left_alone_needs_a_reason() -> None:
    face = make(10, 10, 20, number=2)
    with pytest.raises(InputError, match=r"^reason: face 2 "):
        FaceReport.of(face, "", False)
    assert FaceReport.of(face, "", False, "face 2: skipped, only face 1 was asked for").reason
    with pytest.raises(InputError, match=r"^score: "):
        FaceReport(face.box, face.landmarks, 2.0, 2, "lite", True)


# Numbering


def test_each_order_means_what_its_name_says() -> None:
    faces = [make(50, 30, 10, 0.6), make(10, 20, 30, 0.7), make(30, 10, 20, 0.9), make(70, 40, 15, 0.8)]
    centres = {order: [face.centre[0] for face in number_faces(faces, order)] for order in ORDERS}
    assert centres == {
        "left-right": [10, 30, 50, 70],
        "top-bottom": [30, 10, 50, 70],
        "large-small": [10, 30, 70, 50],
        "confidence": [30, 70, 10, 50],
    }


def test_left_right_goes_by_centre_and_breaks_ties_top_first() -> None:
    wide, narrow = make(30, 10, 50), make(29, 10, 4)
    assert [face.width for face in number_faces([wide, narrow], "left-right")] == [4, 50]
    low, high = make(30, 90, 10), make(30, 10, 10)
    for order in ORDERS:
        assert [face.centre[1] for face in number_faces([low, high], order)] == [10, 90]


@pytest.mark.parametrize("order", ORDERS)
@given(data=st.data())
def test_numbering_does_not_depend_on_the_order_of_the_input(order: Order, data: st.DataObject) -> None:
    faces = data.draw(some_faces)
    numbered = number_faces(faces, order)
    assert number_faces(data.draw(st.permutations(faces)), order) == numbered
    assert number_faces(numbered, order) == numbered
    assert [face.number for face in numbered] == list(range(1, len(faces) + 1))
    strip = sorted(hash(dataclasses.replace(face, number=0)) for face in numbered)
    assert strip == sorted(hash(dataclasses.replace(face, number=0)) for face in faces)


# Selection


def row(*sides: float) -> list[Face]:
    """Faces of these sides, numbered from the left."""
    return number_faces([make(1000 * index, 0, side) for index, side in enumerate(sides)], "left-right")


def reasons(found: list[Face], **options: Any) -> list[str]:
    return [reason for _, reason in select_faces(found, Options(**options))]


def test_defaults_select_every_face() -> None:
    assert reasons(row(1, 500, 20)) == ["", "", ""]
    assert select_faces([], Options(faces="1", max_faces=1)) == []


def test_size_limits_include_their_ends() -> None:
    assert reasons(row(27.9, 28, 400, 412), min_face=28, max_face=400) == [
        "face 1: skipped, 27.9 px is below min_face 28",
        "",
        "",
        "face 4: skipped, 412 px is above max_face 400",
    ]
    assert reasons([make(0, 0, 10, height=40, number=1)], min_face=40) == [""]


@pytest.mark.parametrize(
    ("side", "shown"), [(411.6, "412"), (400.3, "400.3"), (400.04, "400.04"), (400.0001, "400.0001")]
)
def test_the_size_shown_never_equals_the_limit(side: float, shown: str) -> None:
    face = Face(1, (0, 0, side, 1), POINTS, 1.0)  # type: ignore[arg-type]
    assert reasons([face], max_face=400) == [f"face 1: skipped, {shown} px is above max_face 400"]


def test_faces_by_number_and_the_numbers_that_do_not_exist() -> None:
    faces = row(10, 20, 30)
    assert reasons(faces, faces="3,1,7") == ["", "face 2: skipped, only faces 1, 3, 7 were asked for", ""]
    assert missing_numbers(faces, Options(faces="7,1,3,5")) == [5, 7]
    assert no_such_face([7]) == "there is no face 7"
    assert no_such_face([5, 7, 8, 9]) == "there are no faces 5, 7-9"
    assert missing_numbers(faces, Options()) == missing_numbers([], Options(faces="none")) == []


def test_reasons_that_many_faces_share_are_said_once() -> None:
    reasons = [f"face {number}: left alone, too blurred" for number in (2, 3, 4, 7)]
    reasons[1:1] = ["", "face 5: skipped, none of its pixels", "a reason: of its own"]
    assert reasons_together(reasons) == [
        "faces 2-4, 7: left alone, too blurred", "face 5: skipped, none of its pixels", "a reason: of its own",
    ]  # fmt: skip


def test_largest_is_chosen_among_the_faces_that_fit() -> None:
    largest = "only the largest face was asked for, face 2"
    expected = [f"face 1: skipped, {largest}", "", "face 3: skipped, 90 px is above max_face 50"]
    assert reasons(row(10, 20, 90), faces="largest", max_face=50) == expected
    assert reasons(row(20, 20), faces="none") == [f"face {n}: skipped, no face was asked for" for n in (1, 2)]
    assert reasons(row(20, 20), faces="largest") == ["", f"face 2: skipped, {largest[:-1]}1"]


def test_max_faces_keeps_the_largest_of_what_is_left() -> None:
    assert reasons(row(10, 30, 20, 90, 40), max_face=50, faces="1-4", max_faces=2) == [
        "face 1: skipped, left out by max_faces 2",
        "",
        "",
        "face 4: skipped, 90 px is above max_face 50",
        "face 5: skipped, only faces 1-4 were asked for",
    ]


@given(some_faces, some_options, st.sampled_from(ORDERS), st.randoms())
def test_selection_partitions_the_faces(faces: list[Face], options: Options, order: Order, random: Any) -> None:
    numbered = number_faces(faces, order)
    result = select_faces(numbered, options)
    assert [face for face, _ in result] == numbered
    chosen = [face for face, reason in result if not reason]
    for face, reason in result:
        assert not reason or re.match(rf"face {face.number}: skipped, \S", reason)
    fitting = [face for face in numbered if face.side >= options.min_face and face.side <= (options.max_face or 1e9)]
    anyone = options.faces in ("all", "largest")
    named = [face for face in fitting if anyone or face.number in options.face_numbers]
    limit = 1 if options.faces == "largest" else options.max_faces or len(named)
    assert len(chosen) == min(limit, len(named))
    assert set(chosen) <= set(named)
    if chosen:
        smallest = min(face.area for face in chosen)
        assert all(face.area <= smallest for face in named if face not in chosen)
    shuffled = random.sample(numbered, len(numbered))
    assert set(select_faces(shuffled, options)) == set(result)
    gone = missing_numbers(numbered, options)
    assert {*gone, *(face.number for face in numbered)} >= set(options.face_numbers)
    assert all(number > len(numbered) for number in gone)
