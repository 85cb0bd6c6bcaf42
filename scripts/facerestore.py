"""Loaded by the WebUI: the accordion "Face Restore" in txt2img and img2img."""

from lib_facerestore.webui.generation.script import FaceRestoreScript

__all__ = ["FaceRestoreScript"]
