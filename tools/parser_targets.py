"""Label maps for training the `lite` parser, made by a teacher and a colour model.

    pip install "mediapipe<0.10.22"
    python tools/parser_targets.py --photos ../shared/photos --out DIR

MediaPipe's face mesh (Apache-2.0) gives eyes, brows, lips, mouth, nose and the oval of the face; its selfie
segmentation (Apache-2.0) gives the person. The mesh does not know where hair begins and where ears are. So the pixels
around the oval, and those of the forehead, are divided into skin and other things by GrabCut (Rother et al., SIGGRAPH
2004), with samples of skin from the cheeks. The rest of the person above the mouth is hair, and so is what has its
colour below.
Writes crops-parser-train.npz and crops-parser-val.npz: crops, label maps and mesh points, aligned as for FFHQ.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib_facerestore.stages.lite_parser import NAMES
from tools.landmark_targets import mesh_in
from tools.photographs import PHOTOS, Label, landmarks_of, read_labels, read_rgb
from tools.restorer_data import TEMPLATE

SIZE, MARGIN = 256, 32
"""Side of the aligned crop in pixels, and the margin around it."""
WHOLE = SIZE + 2 * MARGIN

# Rings of mesh points, as numbered in MediaPipe's canonical face model.
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
EYES = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382),
)
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276))
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
MOUTH = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
UPPER_LIP = (*LIPS[:11], *MOUTH[10::-1])
LOWER_LIP = (*LIPS[10:], LIPS[0], MOUTH[0], *MOUTH[:9:-1])
NOSE = (
    168, 417, 351, 419, 456, 420, 360, 278, 294, 327, 326, 2, 97, 98, 64, 48, 131, 198, 236, 196, 122, 193,
)  # fmt: skip
CHIN, TOP, SIDES = 152, 10, (234, 454)

CODE: dict[str, int] = {name: number for number, name in enumerate(NAMES)}


def ring(points: np.ndarray, numbers: tuple[int, ...]) -> np.ndarray:
    """Filled polygon of mesh points: WHOLE×WHOLE uint8, 1 inside."""
    mask = np.zeros((WHOLE, WHOLE), np.uint8)
    return cv2.fillPoly(mask, [np.rint(points[list(numbers)]).astype(np.int32)], 1)


def label_map(crop: np.ndarray, person: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """Label map of one face.

    Args:
        crop: WHOLE×WHOLE×3 uint8 RGB.
        person: WHOLE×WHOLE float32, probability that the pixel belongs to a person.
        mesh: 478×2 mesh points in pixels of the crop.

    Returns:
        WHOLE×WHOLE uint8 with the codes of `NAMES`.
    """
    oval = ring(mesh, OVAL).astype(bool)
    parts = np.zeros((WHOLE, WHOLE), np.uint8)
    for name, rings in (
        ("nose", (NOSE,)), ("brow", BROWS), ("eye", EYES),
        ("upper lip", (UPPER_LIP,)), ("lower lip", (LOWER_LIP,)), ("mouth interior", (MOUTH,)),
    ):  # fmt: skip
        for numbers in rings:
            parts[ring(mesh, numbers) > 0] = CODE[name]
    skin, hair = _skin_and_hair(crop, person > 0.5, mesh, oval, parts > 0)
    labels = np.zeros((WHOLE, WHOLE), np.uint8)
    labels[hair] = CODE["hair"]
    labels[skin] = CODE["skin"]
    ears = skin & ~oval & _beside(mesh)
    labels[ears] = CODE["ear"]
    # A fringe over the brows stays hair; the other parts are where the mesh says.
    own = (parts > 0) & ~((parts == CODE["brow"]) & hair)
    labels[own] = parts[own]
    return labels


def axes(mesh: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Coordinates of each pixel in the face's frame, in mesh units: across and down from the middle of the eyes, each
    WHOLE×WHOLE; and the oval's half width and the chin's distance below the eyes, in pixels."""
    eyes = mesh[[33, 133, 362, 263]].mean(0)
    down = mesh[CHIN] - eyes
    tall = float(np.hypot(*down))
    down = down / tall
    y, x = np.mgrid[0:WHOLE, 0:WHOLE].astype(np.float32)
    u = (x - eyes[0]) * down[1] - (y - eyes[1]) * down[0]
    v = (x - eyes[0]) * down[0] + (y - eyes[1]) * down[1]
    wide = float(np.hypot(*(mesh[SIDES[1]] - mesh[SIDES[0]]))) / 2
    return u, v, wide, tall


def _beside(mesh: np.ndarray) -> np.ndarray:
    """Where ears can be: beside the oval, from the height of the brows to that of the mouth."""
    _, v, _, tall = axes(mesh)
    return (v > -0.25 * tall) & (v < 0.8 * tall)


def _skin_and_hair(
    crop: np.ndarray, person: np.ndarray, mesh: np.ndarray, oval: np.ndarray, parts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of skin (with ears, without the neck) and of hair."""
    u, v, wide, tall = axes(mesh)
    unit = tall / 100
    smooth = cv2.bilateralFilter(crop, 5, 25, 3)
    distance_out = cv2.distanceTransform((~oval).astype(np.uint8), cv2.DIST_L2, 5)
    distance_in = cv2.distanceTransform(oval.astype(np.uint8), cv2.DIST_L2, 5)
    middle = np.median(smooth[oval & ~parts & (v > 0.05 * tall) & (v < 0.55 * tall)], axis=0)
    state = np.full((WHOLE, WHOLE), cv2.GC_PR_BGD, np.uint8)
    state[oval] = cv2.GC_PR_FGD
    # Skin for certain: well inside the oval, but for the forehead, over which hair may fall.
    state[(distance_in > 6 * unit) & (v > -0.1 * tall)] = cv2.GC_FGD
    state[(distance_in > 2 * unit) & (v > 0.25 * tall) & (np.abs(u) < 0.7 * wide)] = cv2.GC_FGD
    near = np.linalg.norm(smooth.astype(np.float32) - middle.astype(np.float32), axis=2) < 40
    state[(distance_in > 6 * unit) & (v < -0.1 * tall) & (v > -0.45 * tall) & near] = cv2.GC_PR_FGD
    # Not skin for certain: what is no person, and what is far above or beside the oval.
    state[~person & (distance_out > 2 * unit)] = cv2.GC_BGD
    state[(v < -0.2 * tall) & (distance_out > 25 * unit)] = cv2.GC_BGD
    state[distance_out > 30 * unit] = cv2.GC_BGD
    # GrabCut's second side has the colours of hair, neck's shadow, clothes and background together.
    skin = _grab_cut(smooth, state)
    # The beard belongs to the face, and the jaw line is where the mesh says; below it is the neck.
    lower = v > 0.3 * tall
    skin = np.where(lower, oval, skin & (person | oval))
    # Inside the oval, what is not skin is hair only where hair falls: the forehead and the temples.
    falls = (v < -0.05 * tall) | ((distance_in < 10 * unit) & (v < 0.25 * tall))
    skin |= oval & ~falls
    skin &= (distance_out < 14 * unit) | (_forehead(u, v, wide, tall))
    skin = cv2.morphologyEx(skin.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    skin = cv2.morphologyEx(skin.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    skin |= parts & ~falls
    count, pieces = cv2.connectedComponents(skin.astype(np.uint8), connectivity=4)
    centre = pieces[oval & skin]
    skin = pieces == np.bincount(centre, minlength=count).argmax() if len(centre) else oval
    hair = person & ~skin & (v < 0.15 * tall)
    # Long hair beside the neck is told from clothes by its colour.
    sample = hair & (v < 0)
    if sample.sum() > 200:
        colours = smooth[sample].astype(np.float32)
        centre_colour, spread = np.median(colours, 0), colours.std(0) + 8
        like = (np.abs(smooth.astype(np.float32) - centre_colour) / spread).max(2) < 1.6
        long = person & ~skin & ~oval & (v >= 0.15 * tall) & like
        count, pieces = cv2.connectedComponents((hair | long).astype(np.uint8), connectivity=4)
        above = np.unique(pieces[hair & (v < 0.1 * tall)])
        hair |= long & np.isin(pieces, above[above > 0])
    hair = cv2.medianBlur((hair & ~skin).astype(np.uint8), 5) > 0
    return skin, hair & ~skin


def _grab_cut(picture: np.ndarray, state: np.ndarray) -> np.ndarray:
    """GrabCut's foreground, computed at half the size: WHOLE×WHOLE bool."""
    cv2.setRNGSeed(1)
    half = (WHOLE // 2, WHOLE // 2)
    little = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)
    decided = np.ascontiguousarray(state[1::2, 1::2])
    cv2.grabCut(little, decided, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    front = ((decided == cv2.GC_FGD) | (decided == cv2.GC_PR_FGD)).astype(np.float32)
    return cv2.resize(front, (WHOLE, WHOLE), interpolation=cv2.INTER_LINEAR) > 0.5


def fits(mesh: np.ndarray, five: np.ndarray) -> bool:
    """Whether the mesh is where the five labelled landmarks (5×2, the same pixels) are; in profiles it often is not."""
    own = np.stack([mesh[[33, 133]].mean(0), mesh[[362, 263]].mean(0), mesh[4], mesh[61], mesh[291]])
    length = np.hypot(*(five[3:].mean(0) - five[:2].mean(0)))
    return bool(np.hypot(*(own - five).T).mean() < 0.2 * length)


def _forehead(u: np.ndarray, v: np.ndarray, wide: float, tall: float) -> np.ndarray:
    """Where a forehead can be above the oval: the upper half of an ellipse."""
    return (v < 0) & ((u / (0.95 * wide)) ** 2 + (v / (0.95 * tall)) ** 2 < 1)


def cut(photos: Path, labels: list[Label]) -> dict[str, Any]:
    """Crops, label maps, mesh points and file names of the labelled faces in which the mesh finds a face."""
    import mediapipe  # wanted for this step alone

    found: dict[str, list[Any]] = {"crops": [], "labels": [], "meshes": [], "files": []}
    segmenter = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    settings = {"static_image_mode": True, "max_num_faces": 1, "refine_landmarks": True}
    with segmenter, mediapipe.solutions.face_mesh.FaceMesh(**settings, min_detection_confidence=0.2) as mesher:
        for label in labels:
            image, box = read_rgb(photos / "faces" / label["file"]), np.array(label["box"])
            looks = (mesh_in(mesher, image, box, context, False) for context in (2.0, 1.6, 2.6, 1.3))
            mesh = next((points for points in looks if points is not None), None)
            matrix, _ = cv2.estimateAffinePartial2D(landmarks_of(label), TEMPLATE * (SIZE / 512), method=cv2.LMEDS)
            if mesh is None or matrix is None:
                continue
            matrix[:, 2] += MARGIN
            scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
            source = (
                image if scale >= 1 else cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(max(1 / scale**2 - 1, 1e-6)))
            )
            crop = cv2.warpAffine(
                source, matrix, (WHOLE, WHOLE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
            )
            person = cv2.warpAffine(
                segmenter.process(image).segmentation_mask, matrix, (WHOLE, WHOLE), borderMode=cv2.BORDER_REPLICATE
            )
            points = mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
            if not fits(points, landmarks_of(label) @ matrix[:, :2].T + matrix[:, 2]):
                continue
            found["crops"].append(crop)
            found["labels"].append(label_map(crop, person, points))
            found["meshes"].append(points.astype(np.float32))
            found["files"].append(label["file"])
    return {name: np.stack(rows) for name, rows in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--every", type=int, default=1, help="take only every n-th photograph, for trying")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for split in ("val", "train"):
        rows = cut(arguments.photos, read_labels(arguments.photos, split)[:: arguments.every])
        part = arguments.out / f"crops-parser-{split}.part.npz"
        np.savez(part, **rows)
        part.replace(arguments.out / f"crops-parser-{split}.npz")
        sys.stdout.write(f"{split}: {len(rows['files'])} faces\n")


if __name__ == "__main__":
    main()
