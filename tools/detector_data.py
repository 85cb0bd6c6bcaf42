"""Scenes for training and judging the lite face detector: photographs composed into pictures with known faces.

`PhotoCache` keeps the photographs decoded and small in one file; `SceneMaker` pastes them on backgrounds.
Pixels are BGR uint8 (as OpenCV decodes them); boxes (x0, y0, x1, y1) and landmarks (5×2, image left first) in pixels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.photographs import landmarks_of, read_bgr, read_labels, through_jpeg

FLIP_ORDER = [1, 0, 2, 4, 3]


@dataclass
class Photo:
    """One photograph and its labelled face."""

    pixels: np.ndarray
    box: np.ndarray
    landmarks: np.ndarray

    @property
    def side(self) -> float:
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@dataclass
class Scene:
    """A composed picture; `unsure` are boxes of faces cut by the frame or hidden, which nobody should be judged on."""

    pixels: np.ndarray
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    landmarks: list[NDArray[np.float64]] = field(default_factory=list)
    unsure: list[NDArray[np.float64]] = field(default_factory=list)


class PhotoCache:
    """Photographs with exactly one face, shrunk so that the face is at most `face_side` and the picture `long_side`."""

    def __init__(self, photos: Path, folder: Path, split: str, face_side: int = 360, long_side: int = 560) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pixels, index = folder / f"{split}.npy", folder / f"{split}.json"
        if not index.exists():
            self._build(photos, split, face_side, long_side, pixels, index)
        self.flat = np.load(pixels, mmap_mode="r")
        self.index = json.loads(index.read_text())

    @staticmethod
    def _build(photos: Path, split: str, face_side: int, long_side: int, pixels: Path, index: Path) -> None:
        rows, parts, offset = [], [], 0
        for label in read_labels(photos, split):
            if label["faces"] != 1:
                continue
            image = read_bgr(photos / "faces" / label["file"])
            box, points = np.array(label["box"]), landmarks_of(label)
            side = max(box[2] - box[0], box[3] - box[1])
            scale = min(1.0, face_side / side, long_side / max(image.shape[:2]))
            size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            rows.append(
                {
                    "offset": offset,
                    "shape": small.shape,
                    "box": (box * scale).tolist(),
                    "landmarks": (points * scale).tolist(),
                }
            )
            parts.append(small.reshape(-1))
            offset += small.size
        np.save(pixels, np.concatenate(parts))
        index.write_text(json.dumps(rows))  # last: its presence says that the cache is whole

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> Photo:
        row = self.index[number]
        size = int(np.prod(row["shape"]))
        pixels = np.asarray(self.flat[row["offset"] : row["offset"] + size]).reshape(row["shape"])
        return Photo(pixels, np.array(row["box"]), np.array(row["landmarks"]))


def flip(photo: Photo) -> Photo:
    """The photograph mirrored, left and right landmarks exchanged."""
    width = photo.pixels.shape[1]
    box = photo.box[[2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
    points = photo.landmarks[FLIP_ORDER] * [-1, 1] + [width, 0]
    return Photo(np.ascontiguousarray(photo.pixels[:, ::-1]), box, points)


class SceneMaker:
    """Composes scenes with a random generator of its own (reproducible from its seed)."""

    def __init__(self, cache: PhotoCache, seed: int, augment: bool = True) -> None:
        self.cache, self.rng, self.augment = cache, np.random.default_rng(seed), augment

    def photo(self) -> Photo:
        photo = self.cache[int(self.rng.integers(len(self.cache)))]
        return flip(photo) if self.rng.random() < 0.5 else photo

    def log_uniform(self, low: float, high: float) -> float:
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    # ---------------------------------------------------------------- backgrounds
    def background(self, size: int) -> np.ndarray:
        """A picture without a whole face: photograph beside the face, blurred photograph, gradient or noise."""
        kind = self.rng.random()
        if kind < 0.55:
            return cv2.resize(self._beside_the_face(self.photo()), (size, size), interpolation=cv2.INTER_LINEAR)
        if kind < 0.75:
            cells = int(self.rng.integers(3, 8))
            tiny = cv2.resize(self.photo().pixels, (cells, cells), interpolation=cv2.INTER_AREA)
            return cv2.resize(tiny, (size, size), interpolation=cv2.INTER_CUBIC)
        cells = int(self.rng.choice([1, 2, 4, 16, 64, size]))
        noise = self.rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        if self.rng.random() < 0.5:
            noise[...] = noise.mean(axis=2, keepdims=True).astype(np.uint8)
        mode = cv2.INTER_NEAREST if self.rng.random() < 0.4 else cv2.INTER_LINEAR
        return cv2.resize(noise, (size, size), interpolation=mode)

    def _beside_the_face(self, photo: Photo) -> np.ndarray:
        height, width = photo.pixels.shape[:2]
        x0, y0, x1, y1 = np.clip(photo.box, 0, [width, height, width, height]).astype(int)
        strips = [
            s
            for s in ((y1, height, 0, width), (0, y0, 0, width), (0, height, 0, x0), (0, height, x1, width))
            if s[1] - s[0] >= 24 and s[3] - s[2] >= 24
        ]
        if not strips:
            return photo.pixels[:24, :24]
        top, bottom, left, right = strips[int(self.rng.integers(len(strips)))]
        tall, wide = bottom - top, right - left
        side = int(self.rng.integers(max(16, min(tall, wide) // 2), min(tall, wide) + 1))
        top += int(self.rng.integers(tall - side + 1))
        left += int(self.rng.integers(wide - side + 1))
        patch = photo.pixels[top : top + side, left : left + side]
        return patch[:, ::-1] if self.rng.random() < 0.5 else patch

    # ---------------------------------------------------------------- faces
    def paste(
        self,
        scene: Scene,
        photo: Photo,
        side: float,
        centre: tuple[float, float],
        margin: float | None,
        angle: float,
        soft: bool,
    ) -> None:
        """Paste `photo` with its face `side` pixels high at `centre`; margin None = the whole photograph."""
        height, width = photo.pixels.shape[:2]
        pixels, scale = photo.pixels, side / photo.side
        x0, y0, x1, y1 = 0, 0, width, height
        if margin is not None:
            extra = photo.side * (margin - 1) / 2 * self.rng.uniform(0.5, 1.5, 4)
            x0, y0 = np.maximum(0, np.floor(photo.box[:2] - extra[:2])).astype(int)
            x1, y1 = np.minimum([width, height], np.ceil(photo.box[2:] + extra[2:])).astype(int)
            pixels = pixels[y0:y1, x0:x1]
        small = pixels
        if scale < 0.8:
            size = (max(2, round((x1 - x0) * scale)), max(2, round((y1 - y0) * scale)))
            small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        ratio = np.array([small.shape[1] / (x1 - x0), small.shape[0] / (y1 - y0)])
        box = (photo.box - [x0, y0, x0, y0]) * np.tile(ratio, 2)
        points = (photo.landmarks - [x0, y0]) * ratio
        zoom = side / max(box[2] - box[0], box[3] - box[1])
        middle = (box[:2] + box[2:]) / 2
        matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), angle, zoom)
        matrix[:, 2] += np.array(centre) - middle
        corners = (
            np.array(
                [[0, 0, 1], [small.shape[1], 0, 1], [0, small.shape[0], 1], [small.shape[1], small.shape[0], 1]], float
            )
            @ matrix.T
        )
        limit = scene.pixels.shape[0]
        left, top = np.clip(np.floor(corners.min(0)), 0, limit).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(0)), 0, limit).astype(int)
        if right - left < 4 or bottom - top < 4:
            return
        local = matrix.copy()
        local[:, 2] -= [left, top]
        size = (int(right - left), int(bottom - top))
        warped = cv2.warpAffine(small, local, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover: np.ndarray = np.zeros(small.shape[:2], np.uint8)
        if soft:
            axes = (max(1, int(small.shape[1] * 0.46)), max(1, int(small.shape[0] * 0.46)))
            cv2.ellipse(cover, (small.shape[1] // 2, small.shape[0] // 2), axes, 0, 0, 360, 255, -1)
            cover = cv2.blur(cover, (max(1, small.shape[1] // 8), max(1, small.shape[0] // 8)))
        else:
            cover[...] = 255
        cover = cv2.warpAffine(cover, local, size, flags=cv2.INTER_LINEAR)[..., None]
        area = scene.pixels[top:bottom, left:right]
        if soft or angle:
            weight = cover.astype(np.uint16)
            mixed = (warped * weight + area * (255 - weight) + 127) // 255
            scene.pixels[top:bottom, left:right] = mixed.astype(np.uint8)
        else:
            scene.pixels[top:bottom, left:right] = warped
        half = (box[2:] - box[:2]) * zoom / 2
        face = np.concatenate((np.array(centre) - half, np.array(centre) + half))
        spots = np.concatenate((points, np.ones((5, 1))), 1) @ matrix.T
        self._record(scene, face, spots)

    @staticmethod
    def _record(scene: Scene, face: np.ndarray, spots: np.ndarray) -> None:
        """Note a face; one mostly outside the frame is unsure, and so is an earlier one that it hides."""
        limit = scene.pixels.shape[0]
        boxes, points = [], []
        for old, old_spots in zip(scene.boxes, scene.landmarks, strict=True):
            common = np.maximum(0, np.minimum(old[2:], face[2:]) - np.maximum(old[:2], face[:2])).prod()
            if common > 0.15 * (old[2:] - old[:2]).prod():
                scene.unsure.append(old)
            else:
                boxes.append(old)
                points.append(old_spots)
        inside = np.clip(face, 0, limit)
        seen = (inside[2:] - inside[:2]).prod() / (face[2:] - face[:2]).prod()
        if seen > 0.7:
            boxes.append(face)
            points.append(spots)
        else:
            scene.unsure.append(face)
        scene.boxes, scene.landmarks = boxes, points

    # ---------------------------------------------------------------- scenes
    def scene(self, size: int) -> Scene:
        """A random scene of size×size pixels, with 0 to about 40 faces."""
        scene = Scene(np.ascontiguousarray(self.background(size)))
        kind = self.rng.random()
        angle = self.rng.uniform(-20, 20) if self.rng.random() < 0.5 else 0.0
        if kind < 0.40:
            side = self.log_uniform(40, 0.9 * size) if self.rng.random() < 0.3 else self.rng.uniform(0.3, 1.05) * size
            low, high = min(0.45 * side, size / 2), max(size - 0.45 * side, size / 2)
            centre = (self.rng.uniform(low, high), self.rng.uniform(low, high))
            self.paste(scene, self.photo(), side, centre, None, angle, False)
            if side < 0.35 * size and self.rng.random() < 0.7:
                self.scatter(scene, int(self.rng.integers(1, 8)), 16, 0.4 * size)
        elif kind < 0.75:
            self.scatter(scene, int(self.rng.integers(1, 13)), 14, 0.5 * size)
        elif kind < 0.88:
            top = float(self.rng.choice([24, 36, 64]))
            self.scatter(scene, int(self.rng.integers(6, 32)), 12, top)
        elif kind < 0.94:
            self.mosaic(scene)
        if self.augment:
            scene.pixels = self.degrade(scene.pixels)
        return scene

    def scatter(self, scene: Scene, count: int, low: float, high: float) -> None:
        """Up to `count` faces of log-uniform sides that do not cover each other."""
        size = scene.pixels.shape[0]
        taken = [*scene.boxes, *scene.unsure]
        for _ in range(count):
            side = self.log_uniform(low, high)
            margin = self.rng.uniform(1.15, 2.2)
            for _attempt in range(6):
                centre = self.rng.uniform(0.35 * side, size - 0.35 * side, 2)
                reach = side * margin * 0.6
                spot = np.concatenate((centre - reach, centre + reach))
                if all(
                    min(spot[2], b[2]) <= max(spot[0], b[0]) or min(spot[3], b[3]) <= max(spot[1], b[1]) for b in taken
                ):
                    angle = self.rng.uniform(-20, 20) if self.rng.random() < 0.6 else 0.0
                    soft = self.rng.random() < 0.6
                    self.paste(scene, self.photo(), side, (centre[0], centre[1]), margin, angle, soft)
                    taken.append(np.concatenate((centre - side / 2, centre + side / 2)))
                    break

    def mosaic(self, scene: Scene) -> None:
        """Whole photographs side by side, like a contact sheet."""
        size, cells = scene.pixels.shape[0], int(self.rng.integers(2, 6))
        cell = size / cells
        for row in range(cells):
            for column in range(cells):
                photo = self.photo()
                side = photo.side * cell / max(photo.pixels.shape[:2])
                middle = (photo.box[:2] + photo.box[2:]) / 2 - np.array(photo.pixels.shape[1::-1]) / 2
                centre = (np.array([column, row]) + 0.5) * cell + middle * side / photo.side
                self.paste(scene, photo, side, (centre[0], centre[1]), None, 0.0, False)

    def degrade(self, pixels: np.ndarray) -> np.ndarray:
        """Colour, blur, noise and JPEG, each some of the time."""
        rng = self.rng
        if rng.random() < 0.7:
            gain, shift = rng.uniform(0.7, 1.3, 3) * rng.uniform(0.6, 1.25), rng.uniform(-25, 25)
            steps = np.arange(256, dtype=np.float32)[:, None] / 255
            curve = (steps ** rng.uniform(0.7, 1.45)) * 255 * gain * 0.6 + steps * 255 * 0.4 * gain + shift
            pixels = cv2.LUT(pixels, np.clip(curve, 0, 255).astype(np.uint8).reshape(256, 1, 3))
        if rng.random() < 0.08:
            pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if rng.random() < 0.2:
            pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.6))
        if rng.random() < 0.15:
            small = cv2.resize(pixels, None, fx=(f := rng.uniform(0.45, 0.9)), fy=f, interpolation=cv2.INTER_AREA)
            pixels = cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        if rng.random() < 0.15:
            noise = rng.normal(0, rng.uniform(2, 14), pixels.shape[:2]).astype(np.int16)[..., None]
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        if rng.random() < 0.4:
            pixels = through_jpeg(pixels, int(rng.integers(25, 96)))
        return pixels
