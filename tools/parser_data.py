"""Training samples of the `lite` parser: crops with glasses and things in front of the face drawn over them.

Hands are drawn: fingers are capsules in the colour of skin, lit from one side. Other things have textures that are cut
out of other photographs. What a sample shows is known exactly, so its label map is exact where something was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.degradations import spoil
from tools.parser_targets import CODE, OVAL, SIZE, WHOLE, ring

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats]
IGNORED = 255
"""Label of pixels that have no part in the loss."""


@dataclass(frozen=True)
class Faces:
    """What `parser_targets` wrote.

    Attributes:
        crops: N×WHOLE×WHOLE×3 uint8 RGB.
        labels: N×WHOLE×WHOLE uint8.
        meshes: N×478×2 float32, mesh points in pixels of the crop.
        bare: N bool; whether the face surely wears no glasses. Where it may, "eye", "brow" and "skin" near the eyes are
            not known.
    """

    crops: Pixels
    labels: Pixels
    meshes: Floats
    bare: NDArray[np.bool_]


def read_faces(folder: Path, split: str) -> Faces:
    """Read crops-parser-`split`.npz from the folder."""
    with np.load(folder / f"crops-parser-{split}.npz") as saved:
        crops, labels, meshes = saved["crops"], saved["labels"], saved["meshes"]
    bars = np.array([bridge(crop, mesh) for crop, mesh in zip(crops, meshes, strict=True)])
    return Faces(crops, labels, meshes, bars < np.quantile(bars, 0.6))


def bridge(crop: Pixels, mesh: Floats) -> float:
    """How strong a horizontal edge crosses the bridge of the nose: large where glasses are worn."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    down = mesh[152] - mesh[10]
    angle = float(np.degrees(np.arctan2(-down[0], down[1])))
    centre, reach = mesh[[168, 6]].mean(0), float(np.hypot(*(mesh[133] - mesh[362]))) / 2
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), angle, 16 / max(reach, 4))
    matrix[:, 2] += 16 - centre
    patch = cv2.warpAffine(grey, matrix, (32, 32), flags=cv2.INTER_LINEAR)
    edges = np.abs(cv2.Sobel(patch, cv2.CV_32F, 0, 1))[:, 10:22].mean(1)
    return float(edges.max() / (patch.mean() + 20))


class SampleMaker:
    """Makes samples.

    Args:
        faces: the faces.
        rng: the source of every random choice.
        damage: share of the samples that are spoilt as by `degradations.spoil`.
    """

    def __init__(self, faces: Faces, rng: np.random.Generator, damage: float = 0.6) -> None:
        self.faces, self.rng, self.damage = faces, rng, damage

    def sample(self, index: int, front: str | None = None) -> tuple[Pixels, Pixels]:
        """A crop (SIZE×SIZE×3 uint8 RGB) and its label map (SIZE×SIZE uint8) of face `index`.

        Args:
            index: number of the face.
            front: what is in front of the face: a key of `FRONTS`, or "" for nothing; None draws one at random.
        """
        rng = self.rng
        crop, labels = self.faces.crops[index].copy(), self.faces.labels[index].copy()
        mesh = self.faces.meshes[index]
        if rng.random() < 0.3:
            draw_glasses(crop, labels, mesh, rng)
        elif not self.faces.bare[index]:
            labels[spectacles(mesh) & (labels != CODE["hair"])] = IGNORED
        if front is None:
            front = str(rng.choice(list(FRONTS))) if rng.random() < 0.65 else ""
        if front:
            self._put_front(crop, labels, mesh, front)
        crop, labels = self._moved(crop, labels)
        if rng.random() < 0.5:
            crop, labels = np.ascontiguousarray(crop[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
        if rng.random() < 0.4:
            gain = rng.uniform(0.6, 1.25) * rng.uniform(0.85, 1.15, 3)
            crop = np.clip(np.rint(crop * gain), 0, 255).astype(np.uint8)
        if rng.random() < 0.12:
            crop = np.repeat(crop.mean(2, keepdims=True).round().astype(np.uint8), 3, axis=2)
        return (spoil(crop, rng) if rng.random() < self.damage else crop), labels

    def _moved(self, crop: Pixels, labels: Pixels) -> tuple[Pixels, Pixels]:
        """Scaled, turned and shifted, as crops by other templates or wrong landmarks are."""
        rng = self.rng
        angle, size = float(rng.normal(0, 7)), float(rng.uniform(0.78, 1.2))
        matrix = np.array(cv2.getRotationMatrix2D((WHOLE / 2, WHOLE / 2), angle, size), np.float64)
        matrix[:, 2] += rng.normal(0, 0.025 * SIZE, 2) - (WHOLE - SIZE) / 2
        border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
        moved = cv2.warpAffine(crop, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=border)
        flags = cv2.INTER_NEAREST
        moved_labels = cv2.warpAffine(labels, matrix, (SIZE, SIZE), flags=flags, borderMode=border)
        return moved.astype(np.uint8, copy=False), moved_labels.astype(np.uint8, copy=False)

    def _put_front(self, crop: Pixels, labels: Pixels, mesh: Floats, front: str) -> None:
        oval = mesh[list(OVAL)]
        other = int(self.rng.integers(len(self.faces.crops)))
        for _ in range(6):
            layer, alpha = FRONTS[front](self, crop, oval, mesh, other)
            hidden = float((alpha > 0.5)[ring(mesh, OVAL) > 0].mean())
            if 0.03 < hidden < 0.65:
                break
        else:
            return
        if self.rng.random() < 0.6:  # its shadow on the face
            shift = self.rng.normal(0, 5, 2)
            moved = cv2.warpAffine(alpha, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), (WHOLE, WHOLE))
            shade = 1 - float(self.rng.uniform(0.1, 0.5)) * cv2.GaussianBlur(
                moved, (0, 0), float(self.rng.uniform(2, 6))
            )
            crop[:] = np.rint(crop * shade[..., None]).astype(np.uint8)
        blended = crop + alpha[..., None] * (layer - crop)
        crop[:] = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
        labels[alpha > 0.5] = CODE["occluder"]

    def _hand(self, crop: Pixels, oval: Floats, mesh: Floats, other: int) -> Layer:
        rng = self.rng
        tall = float(np.ptp(oval[:, 1]))
        source = crop if rng.random() < 0.7 else self.faces.crops[other]
        points = self.faces.meshes[other] if source is not crop else mesh
        skin = cv2.GaussianBlur(source, (0, 0), 3)[tuple(np.clip(np.rint(points[50]).astype(int), 0, WHOLE - 1)[::-1])]
        return hand(rng, skin.astype(np.float32), oval, tall)

    def _thing(self, crop: Pixels, oval: Floats, mesh: Floats, other: int) -> Layer:
        rng = self.rng
        shape = np.zeros((WHOLE, WHOLE), np.uint8)
        centre = oval.mean(0) + (oval[int(rng.integers(len(oval)))] - oval.mean(0)) * rng.uniform(0.2, 1.2)
        reach = float(np.ptp(oval[:, 0])) * rng.uniform(0.15, 0.6)
        kind = int(rng.integers(4))
        if kind == 0:
            corners = int(rng.integers(3, 9))
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            radii = reach * rng.uniform(0.5, 1.3, corners)
            points = centre + np.stack([np.cos(angles) * radii, np.sin(angles) * radii], 1)
            cv2.fillPoly(shape, [np.rint(points).astype(np.int32)], 1)
        elif kind == 1:
            axes = (max(2, round(reach)), max(2, round(reach * rng.uniform(0.3, 1))))
            cv2.ellipse(shape, np.rint(centre).astype(int).tolist(), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        elif kind == 2:  # a stick, a cable, a bottle
            angle = rng.uniform(0, np.pi)
            along = np.array([np.cos(angle), np.sin(angle)]) * WHOLE
            ends = [np.rint(centre + sign * along).astype(int).tolist() for sign in (1, -1)]
            ends[1] = np.rint(centre).astype(int).tolist() if rng.random() < 0.5 else ends[1]
            cv2.line(shape, ends[0], ends[1], 1, max(2, round(reach * rng.uniform(0.1, 0.6))))
        else:  # a phone, a book, a sheet of paper
            box = cv2.boxPoints(
                (centre.tolist(), (2 * reach, reach * float(rng.uniform(0.6, 2))), float(rng.uniform(0, 90)))
            )
            cv2.fillPoly(shape, [np.rint(box).astype(np.int32)], 1)
        return self._texture(other), soft(shape, rng)

    def _microphone(self, crop: Pixels, oval: Floats, mesh: Floats, other: int) -> Layer:
        rng = self.rng
        shape = np.zeros((WHOLE, WHOLE), np.uint8)
        mouth = mesh[[13, 14]].mean(0) + rng.normal(0, 12, 2) + np.array([0, rng.uniform(0, 25)])
        radius = float(np.ptp(oval[:, 0])) * rng.uniform(0.1, 0.24)
        angle = rng.uniform(0.15 * np.pi, 0.85 * np.pi)
        end = mouth + np.array([np.cos(angle), np.sin(angle)]) * WHOLE
        cv2.line(
            shape, np.rint(mouth).astype(int).tolist(), np.rint(end).astype(int).tolist(), 1, max(3, round(radius))
        )
        body = float(rng.uniform(10, 90))
        layer = np.full((WHOLE, WHOLE, 3), body, np.float32)
        ball = np.zeros_like(shape)
        cv2.circle(ball, np.rint(mouth).astype(int).tolist(), round(radius), 1, -1)
        y, x = np.mgrid[0:WHOLE, 0:WHOLE].astype(np.float32)
        mesh_of_wire = np.cos((x + y) * 2 * np.pi / 4) * np.cos((x - y) * 2 * np.pi / 4)
        light = 1 - np.hypot(x - mouth[0] + radius / 3, y - mouth[1] + radius / 3) / (2.2 * radius)
        tone = (float(rng.uniform(30, 190)) * np.clip(light, 0.15, 1) + 18 * mesh_of_wire)[..., None]
        layer = np.where(ball[..., None] > 0, tone * rng.uniform(0.85, 1.15, 3), layer).astype(np.float32)
        return np.clip(layer, 0, 255), soft(np.maximum(shape, ball), rng)

    def _mask(self, crop: Pixels, oval: Floats, mesh: Floats, other: int) -> Layer:
        rng = self.rng
        start = float(rng.uniform(0.2, 0.9))
        top = mesh[6] * (1 - start) + mesh[1] * start
        lower = [
            mesh[i]
            for i in (
                454,
                323,
                361,
                288,
                397,
                365,
                379,
                378,
                400,
                377,
                152,
                148,
                176,
                149,
                150,
                136,
                172,
                58,
                132,
                93,
                234,
            )
        ]
        lower = [oval.mean(0) + (point - oval.mean(0)) * rng.uniform(0.96, 1.06) for point in lower]
        sides = [mesh[117] * 0.5 + top * 0.5, top, mesh[346] * 0.5 + top * 0.5]
        shape = np.zeros((WHOLE, WHOLE), np.uint8)
        cv2.fillPoly(shape, [np.rint(np.array(lower + sides)).astype(np.int32)], 1)
        if rng.random() < 0.3:
            return self._texture(other), soft(shape, rng)
        y, x = np.mgrid[0:WHOLE, 0:WHOLE].astype(np.float32)
        folds = np.cos((y - top[1]) * 2 * np.pi / float(rng.uniform(8, 30))) * float(rng.uniform(0, 8))
        side = (x - oval[:, 0].mean()) / float(np.ptp(oval[:, 0])) * float(rng.uniform(-60, 60))
        colour = np.array(
            [(235, 240, 245), (120, 170, 215), (30, 30, 34), (170, 210, 190)][int(rng.integers(4))], np.float32
        )
        layer = colour * float(rng.uniform(0.6, 1.05)) + (folds + side)[..., None] + noise_field(rng, 6)[..., None]
        return np.clip(layer, 0, 255).astype(np.float32), soft(shape, rng)

    def _head(self, crop: Pixels, oval: Floats, mesh: Floats, other: int) -> Layer:
        rng = self.rng
        labels = self.faces.labels[other]
        shape = ((labels > 0) & (labels != IGNORED)).astype(np.uint8)
        size = float(rng.uniform(0.7, 1.5))
        angle = float(rng.uniform(-25, 25))
        wide = float(np.ptp(oval[:, 0]))
        matrix = np.array(cv2.getRotationMatrix2D((WHOLE / 2, WHOLE / 2), angle, size), np.float64)
        direction = rng.uniform(0, 2 * np.pi)
        matrix[:, 2] += (
            np.array([np.cos(direction), np.sin(direction)]) * wide * rng.uniform(0.6, 1.3) * (0.5 + size / 2)
        )
        flat = cv2.warpAffine(shape, matrix, (WHOLE, WHOLE), flags=cv2.INTER_NEAREST)
        layer = cv2.warpAffine(self.faces.crops[other], matrix, (WHOLE, WHOLE), flags=cv2.INTER_LINEAR)
        return layer.astype(np.float32), soft(flat.astype(np.uint8, copy=False), rng)

    def _texture(self, other: int) -> Floats:
        """A layer: a plain colour with soft shading, or a part of another photograph."""
        rng = self.rng
        if rng.random() < 0.4:
            return np.clip(rng.uniform(0, 255, 3) + noise_field(rng, 40)[..., None], 0, 255).astype(np.float32)
        side = int(rng.integers(40, WHOLE))
        top, left = rng.integers(0, WHOLE - side + 1, 2)
        part = self.faces.crops[other][top : top + side, left : left + side]
        turned = np.rot90(part, int(rng.integers(1, 4)))  # a face in it does not look like a face in front
        return cv2.resize(turned, (WHOLE, WHOLE), interpolation=cv2.INTER_CUBIC).astype(np.float32)


FRONTS = {
    "hand": SampleMaker._hand,
    "thing": SampleMaker._thing,
    "microphone": SampleMaker._microphone,
    "mask": SampleMaker._mask,
    "head": SampleMaker._head,
}
"""What can be in front of a face: functions that give a layer (WHOLE×WHOLE×3 float32) and its opacity (WHOLE×WHOLE)."""


def soft(shape: Pixels, rng: np.random.Generator) -> Floats:
    """A shape's opacity, with an edge of a pixel or a little more."""
    return np.asarray(cv2.GaussianBlur(shape.astype(np.float32), (0, 0), float(rng.uniform(0.4, 1.3))), np.float32)


def noise_field(rng: np.random.Generator, strength: float) -> Floats:
    """Smooth random field, WHOLE×WHOLE float32 of this standard deviation."""
    cells = int(rng.integers(3, 14))
    field = rng.normal(0, strength, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(field, (WHOLE, WHOLE), interpolation=cv2.INTER_CUBIC), np.float32)


def hand(rng: np.random.Generator, skin: Floats, oval: Floats, tall: float) -> tuple[Floats, Floats]:
    """A hand: a palm, a wrist or sleeve, and up to five fingers of three joints.

    Args:
        rng: the source of every random choice.
        skin: its colour, RGB in 0 to 255.
        oval: outline of the face, N×2 pixels.
        tall: height of the face in pixels.
    """
    length = tall * float(rng.uniform(0.3, 0.5))
    width = length * float(rng.uniform(0.2, 0.28))
    middle = oval.mean(0)
    # The finger tips point from outside into the face.
    entry = middle + (oval[int(rng.integers(len(oval)))] - middle) * float(rng.uniform(0.5, 1.25))
    towards = middle - entry + rng.normal(0, 0.25 * tall, 2)
    angle = float(np.arctan2(towards[1], towards[0])) + float(rng.normal(0, 0.5))
    forward = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-forward[1], forward[0]])
    height = np.zeros((WHOLE, WHOLE), np.float32)
    fingers, bend, spread = int(rng.integers(1, 5)), float(rng.normal(0, 0.35)), float(rng.uniform(0, 0.18))
    fingers = 4 if rng.random() < 0.6 else fingers
    for finger in range(fingers):
        offset = finger - (fingers - 1) / 2
        at = entry + across * offset * width * 1.04
        turn = angle + offset * spread
        reach = length * (1.0 - 0.09 * offset**2) / 3
        limb = np.zeros((WHOLE, WHOLE), np.uint8)
        for joint in range(3):
            end = at + reach * np.array([np.cos(turn), np.sin(turn)])
            thick = max(2, round(width * (1 - 0.09 * joint)))
            cv2.line(limb, np.rint(at).astype(int).tolist(), np.rint(end).astype(int).tolist(), 1, thick)
            at, turn = end, turn + bend * 0.5
        _raise(height, limb)
    palm = np.zeros((WHOLE, WHOLE), np.uint8)
    centre = entry - forward * width * 1.6
    axes = (round(width * 2.3), max(3, round(width * 0.56 * fingers + width * 0.3)))
    cv2.ellipse(palm, np.rint(centre).astype(int).tolist(), axes, float(np.degrees(angle)), 0, 360, 1, -1)
    far = centre - forward * WHOLE
    cv2.line(
        palm, np.rint(centre).astype(int).tolist(), np.rint(far).astype(int).tolist(), 1, max(3, round(width * 2.2))
    )
    _raise(height, palm)
    if rng.random() < 0.6:  # the thumb
        thumb = np.zeros((WHOLE, WHOLE), np.uint8)
        side = across * (1 if rng.random() < 0.5 else -1)
        start = centre + side * width * 1.4
        tip = start + (forward * rng.uniform(0.2, 1.0) + side * rng.uniform(0.2, 0.9)) * length * 0.7
        cv2.line(
            thumb, np.rint(start).astype(int).tolist(), np.rint(tip).astype(int).tolist(), 1, max(2, round(width * 1.1))
        )
        _raise(height, thumb)
    shape = (height > 0).astype(np.uint8)
    rounded = cv2.GaussianBlur(height, (0, 0), 1.2)
    light = float(rng.uniform(0, 2 * np.pi))
    slope = np.cos(light) * cv2.Sobel(rounded, cv2.CV_32F, 1, 0) + np.sin(light) * cv2.Sobel(rounded, cv2.CV_32F, 0, 1)
    tone = 0.78 + 0.3 * rounded + 0.14 * slope
    layer = skin * tone[..., None] * float(rng.uniform(0.75, 1.2)) + noise_field(rng, 5)[..., None]
    layer += rng.normal(0, 2.5, (WHOLE, WHOLE, 1)).astype(np.float32)
    if rng.random() < 0.4:  # a sleeve
        y, x = np.mgrid[0:WHOLE, 0:WHOLE].astype(np.float32)
        behind = (x - centre[0]) * forward[0] + (y - centre[1]) * forward[1] < -width * float(rng.uniform(1.5, 4))
        layer = np.where(behind[..., None], rng.uniform(0, 255, 3) * tone[..., None], layer)
    return np.clip(layer, 0, 255).astype(np.float32), soft(shape, rng)


def _raise(height: Floats, limb: Pixels) -> None:
    """Lay a round limb over those below: heights 0 to 1, dark lines where limbs meet."""
    inside = cv2.distanceTransform(limb, cv2.DIST_L2, 3)
    profile = np.sqrt(np.clip(inside / max(float(inside.max()), 1.0), 0, 1))
    height[limb > 0] = np.maximum(profile[limb > 0], 0.05)


def spectacles(mesh: Floats) -> NDArray[np.bool_]:
    """Where glasses can be, WHOLE×WHOLE."""
    mask = np.zeros((WHOLE, WHOLE), np.uint8)
    eyes = np.stack([mesh[[33, 133]].mean(0), mesh[[362, 263]].mean(0)])
    apart = float(np.hypot(*(eyes[1] - eyes[0])))
    for start, end in ((eyes[0], eyes[1]), (eyes[0], mesh[234]), (eyes[1], mesh[454])):
        cv2.line(
            mask, np.rint(start).astype(int).tolist(), np.rint(end).astype(int).tolist(), 1, max(3, round(0.75 * apart))
        )
    return mask > 0


def draw_glasses(crop: Pixels, labels: Pixels, mesh: Floats, rng: np.random.Generator) -> None:
    """Draw glasses or sunglasses into a crop, in place. Their lenses belong to the label "glasses"."""
    eyes = np.stack([mesh[[33, 133]].mean(0), mesh[[362, 263]].mean(0)])
    line = eyes[1] - eyes[0]
    apart = float(np.hypot(*line))
    if apart < 20:
        return
    across = line / apart
    down = np.array([-across[1], across[0]])
    wide, high = apart * float(rng.uniform(0.34, 0.46)), apart * float(rng.uniform(0.24, 0.42))
    power, thick = float(rng.uniform(2, 5)), int(rng.integers(1, 6))
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    outline = np.stack(
        [np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / power) * wide,
         np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / power) * high], 1,
    )  # fmt: skip
    lens, frame = np.zeros((WHOLE, WHOLE), np.uint8), np.zeros((WHOLE, WHOLE), np.uint8)
    drop = down * apart * float(rng.uniform(-0.02, 0.12))
    for eye, side, temple in ((eyes[0], -1, mesh[234]), (eyes[1], 1, mesh[454])):
        centre = eye + drop
        points = np.rint(centre + outline @ np.stack([across, down])).astype(np.int32)
        cv2.fillPoly(lens, [points], 1)
        rimless = rng.random() < 0.15
        if not rimless:
            cv2.polylines(frame, [points], True, 1, thick)
        hinge = centre + across * side * wide - down * high * 0.4
        cv2.line(
            frame,
            np.rint(hinge).astype(int).tolist(),
            np.rint(temple - down * 4).astype(int).tolist(),
            1,
            max(1, thick - 1),
        )
    inner = [
        np.rint(eye + drop + across * side * wide - down * high * 0.3).astype(int).tolist()
        for eye, side in zip(eyes, (1, -1), strict=True)
    ]
    cv2.line(frame, inner[0], inner[1], 1, thick)
    picture = crop.astype(np.float32)
    glass = soft(lens, rng)[..., None]
    if rng.random() < 0.4:  # sunglasses
        tint, opacity = rng.uniform(0, 70, 3), float(rng.uniform(0.6, 1.0))
        picture += glass * opacity * (tint + noise_field(rng, 12)[..., None] - picture)
    else:
        picture += glass * (float(rng.uniform(0, 0.15)) * (rng.uniform(120, 255, 3) - picture))
        if rng.random() < 0.4:  # a reflection
            picture += glass * np.clip(noise_field(rng, 60), 0, 160)[..., None]
    colour = rng.uniform(0, 90, 3) if rng.random() < 0.7 else rng.uniform(0, 255, 3)
    rim = soft(frame, rng)[..., None] * float(rng.uniform(0.75, 1))
    picture += rim * (colour + noise_field(rng, 15)[..., None] - picture)
    crop[:] = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    worn = ((lens > 0) | (frame > 0)) & (labels != CODE["hair"])
    labels[worn] = CODE["glasses"]
