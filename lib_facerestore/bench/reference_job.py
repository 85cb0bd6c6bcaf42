"""The whole job with the reference packages, only for `bench`: facexlib's FaceRestoreHelper, used as in the WebUI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..checks.replaced import replaced
from ..faces.face import Face
from ..networks.cpu_batches import Restore
from ..system import facexlib_import

SHORT_SIDE = 640
"""Short side in pixels to which the WebUI's built-in restorer resizes pictures for detection."""


class ReferenceJob:
    """The whole job as in the WebUI's built-in restorer.

    It detects at a short side of 640 px, restores one face at a time in float32, masks with ParseNet, and warps whole
    pictures.

    Args:
        detector: facexlib's RetinaFace.
        parser: facexlib's ParseNet.
        network: an original restoration network, which maps 1×3×512×512 RGB in [-1, 1] to the same.
        faces: the faces that detection returns. The detector runs, but its output is ignored, since its weights may be
            random.
        device: device to run on.

    Raises:
        FaceRestoreError: facexlib is not installed, or fails at import.
    """

    def __init__(
        self, detector: Any, parser: Any, network: Restore, faces: Sequence[Face], device: torch.device
    ) -> None:
        module = facexlib_import.import_facexlib("facexlib.utils.face_restoration_helper")
        known = _KnownFaces(detector, faces)
        with (  # in place of its own networks, which it would download
            replaced(module, "init_detection_model", lambda *_, **__: known),
            replaced(module, "init_parsing_model", lambda *_, **__: parser),
        ):
            self._helper = module.FaceRestoreHelper(1, 512, use_parse=True, device=device)
        self._network = network
        self._device = device

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Restore a picture: H×W×3 uint8 RGB → the same."""
        helper = self._helper
        helper.clean_all()
        helper.read_image(np.ascontiguousarray(image[..., ::-1]))
        helper.face_det.scale = SHORT_SIDE / min(image.shape[:2])
        helper.get_face_landmarks_5(only_center_face=False, resize=SHORT_SIDE, eye_dist_threshold=5)
        helper.align_warp_face()
        for crop in helper.cropped_faces:
            pixels = np.ascontiguousarray(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).transpose(2, 0, 1), np.float32)
            face = self._network((torch.from_numpy(pixels) / 127.5 - 1)[None].to(self._device))
            restored = ((face[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).cpu().numpy().round().astype(np.uint8)
            helper.add_restored_face(cv2.cvtColor(restored, cv2.COLOR_RGB2BGR))
        helper.get_inverse_affine(None)
        pasted = helper.paste_faces_to_input_image()
        return np.ascontiguousarray(np.asarray(pasted).astype(np.uint8)[..., ::-1])


class _KnownFaces:
    """A detector that does all its work, and then returns known faces."""

    def __init__(self, detector: Any, faces: Sequence[Face]) -> None:
        self._detector = detector
        self._rows = np.array([[*face.box, face.score, *face.landmarks.ravel()] for face in faces], np.float64)
        self.scale = 1.0

    def detect_faces(self, image: NDArray[np.uint8], threshold: float) -> NDArray[np.float64]:
        """Rows (x0, y0, x1, y1, score, ten coordinates) in pixels of the resized picture, as in facexlib."""
        self._detector.detect_faces(image, 0.999999)
        return self._rows.reshape(-1, 15) * self.scale
