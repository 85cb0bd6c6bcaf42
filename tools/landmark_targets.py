"""Better landmarks for training than the labels: what two independent networks and the label agree on.

    pip install "mediapipe<0.10.22"
    python tools/landmark_targets.py --photos ../shared/photos --out DIR/targets.json

The labels of faces.jsonl came out of a detector and are off by several per cent of the distance of the eyes. Here the
labels of the training split are regressed on the points of MediaPipe's face mesh (Apache-2.0) and of the RetinaFace in
`detector/` (MIT), which keeps the labels' habits (where exactly an eye's point sits) and drops most of their noise. A
share of the label itself stays in. Nothing of `val` is used; --report prints how far the regression is from its labels.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.stages.detection.retinaface import load_retinaface
from tools.photographs import PHOTOS, TEACHER, Label, landmarks_of, read_labels, read_rgb

MESH = 478
IRISES = (slice(468, 473), slice(473, 478))
CORNERS_OF_EYES, CORNERS_OF_MOUTH = (33, 133, 362, 263), (61, 291)
LABEL_SHARE = 0.15
"""Of the label in the target; labels are about twice as noisy as the regression."""
PENALTY = 5.0


def meshes(photos: Path, labels: list[Label]) -> np.ndarray:
    """Mesh points (N×478×3, pixels) of the labelled faces, means of a plain and a mirrored look; NaN where none."""
    import mediapipe  # wanted for this step alone

    settings = {"static_image_mode": True, "max_num_faces": 1, "refine_landmarks": True}
    found = np.full((len(labels), 2, MESH, 3), np.nan)
    with mediapipe.solutions.face_mesh.FaceMesh(**settings, min_detection_confidence=0.2) as mesh:
        for at, label in enumerate(labels):
            image, box = read_rgb(photos / "faces" / label["file"]), np.array(label["box"])
            for mirrored in (0, 1):
                for context in (2.0, 1.6, 2.6, 1.3):
                    points = mesh_in(mesh, image, box, context, bool(mirrored))
                    if points is not None:
                        found[at, mirrored] = points
                        break
    return found.mean(1)


class FaceMesh(Protocol):
    """MediaPipe's face mesh, of which we use this much."""

    def process(self, image: np.ndarray) -> Any: ...


def mesh_in(mesh: FaceMesh, image: np.ndarray, box: np.ndarray, context: float, mirrored: bool) -> np.ndarray | None:
    """Mesh points (478×3) of the face in `box`, looked for in a square `context` times as long."""
    middle, longer = (box[:2] + box[2:]) / 2, float(max(box[2:] - box[:2]))
    side = int(np.clip(longer * context, 256, 640))
    scale = side / (longer * context)
    matrix = np.column_stack([np.eye(2) * scale, side / 2 - middle * scale])
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cut = cv2.warpAffine(image, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    answer = mesh.process(np.ascontiguousarray(cut[:, ::-1] if mirrored else cut))
    if not answer.multi_face_landmarks:
        return None
    points = np.array([(p.x, p.y, p.z) for p in answer.multi_face_landmarks[0].landmark]) * side
    if mirrored:
        points[:, 0] = side - points[:, 0]
    points[:, :2] = (points[:, :2] - matrix[:, 2]) / scale
    points[:, 2] /= scale
    return points if np.linalg.norm(points[:, :2].mean(0) - middle) < 0.4 * longer else None


def teachers(photos: Path, labels: list[Label]) -> np.ndarray:
    """Landmarks (N×5×2) of the RetinaFace in `detector/`; NaN where it sees no face near the label."""
    detector = load_retinaface(photos / TEACHER, TEACHER.name)
    found = np.full((len(labels), 5, 2), np.nan)
    for at, label in enumerate(labels):
        box = np.array(label["box"])
        for face in detector.detect([read_rgb(photos / "faces" / label["file"])], 0.3)[0]:
            if np.abs(np.array(face.box) - box).sum() < max(box[2:] - box[:2]):
                found[at] = face.landmarks
                break
    return found


class Frame:
    """Coordinates that do not depend on where a face lies, how large it is and how it leans, from its mesh."""

    def __init__(self, mesh: np.ndarray) -> None:
        eyes = mesh[:, CORNERS_OF_EYES, :2].mean(1)
        mouth = mesh[:, CORNERS_OF_MOUTH, :2].mean(1)
        down = mouth - eyes
        self.centre, self.unit = (eyes + mouth) / 2, np.linalg.norm(down, axis=1)
        angle = np.arctan2(down[:, 0], down[:, 1])
        cosine, sine = np.cos(angle), np.sin(angle)
        self.turn = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)

    def enter(self, points: np.ndarray) -> np.ndarray:
        return (points - self.centre[:, None]) @ self.turn.transpose(0, 2, 1) / self.unit[:, None, None]

    def leave(self, points: np.ndarray) -> np.ndarray:
        return points * self.unit[:, None, None] @ self.turn + self.centre[:, None]


def regress(features: np.ndarray, wanted: np.ndarray, importance: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Robust ridge regression (least mean distance, by reweighting) learnt on `train`, its answers for all."""
    centre, spread = features[train].mean(0), features[train].std(0) + 1e-6
    design = np.concatenate([(features - centre) / spread, np.ones((len(features), 1))], 1)
    flat, weights = wanted.reshape(len(wanted), -1), importance[train]
    for _ in range(8):
        weighted = design[train] * weights[:, None]
        normal = weighted.T @ design[train] + PENALTY * np.eye(design.shape[1])
        answer = (design @ np.linalg.solve(normal, weighted.T @ flat[train])).reshape(wanted.shape)
        missed = np.linalg.norm(answer - wanted, axis=2).mean(1)
        weights = importance[train] / np.maximum(missed[train], 0.01) * 0.05
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write: file name → five landmarks")
    parser.add_argument("--report", action="store_true", help="also look at `val`, to print how far the labels are")
    arguments = parser.parse_args()
    labels = read_labels(arguments.photos, "train", *(["val"] if arguments.report else []))
    seen = arguments.out.with_suffix(".npz")
    if seen.exists():
        with np.load(seen) as saved:
            mesh, teacher = saved["mesh"], saved["teacher"]
    else:
        mesh, teacher = meshes(arguments.photos, labels), teachers(arguments.photos, labels)
        np.savez(seen, mesh=mesh, teacher=teacher)
    known = np.isfinite(mesh).all((1, 2)) & np.isfinite(teacher).all((1, 2))
    labels = [label for label, use in zip(labels, known, strict=True) if use]
    mesh, teacher = mesh[known], teacher[known]
    truth = np.stack([landmarks_of(label) for label in labels])
    train = np.array([label["split"] == "train" for label in labels])
    frame = Frame(mesh)
    depth = mesh[:, :, 2] / frame.unit[:, None]
    parts = [frame.enter(mesh[:, :, :2]), depth - depth.mean(1, keepdims=True), frame.enter(teacher)]
    wanted = frame.enter(truth)
    apart = np.linalg.norm(wanted[:, 0] - wanted[:, 1], axis=1)
    features = np.concatenate([part.reshape(len(mesh), -1) for part in parts], 1)
    answer = regress(features, wanted, 1 / apart, train)
    if arguments.report:
        missed = np.linalg.norm(answer - wanted, axis=2).mean(1)
        for name, rows in (("train", train), ("val", ~train)):
            share, pooled = (missed / apart)[rows].mean(), missed[rows].mean() / apart[rows].mean()
            line = f"{name}: {rows.sum()} faces, {100 * share:.2f} % from the label, pooled {100 * pooled:.2f} %"
            sys.stdout.write(line + "\n")
    points = frame.leave(answer + LABEL_SHARE * (wanted - answer))
    chosen = zip(labels, points, train, strict=True)
    targets = {label["file"]: np.round(five, 2).tolist() for label, five, use in chosen if use}
    arguments.out.write_text(json.dumps(targets), encoding="utf-8")
    sys.stdout.write(f"{arguments.out}: {len(targets)} faces\n")


if __name__ == "__main__":
    main()
