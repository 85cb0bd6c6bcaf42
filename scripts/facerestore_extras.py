"""The WebUI loads this file: "Face Restore" in the Extras tab."""

from lib_facerestore.webui.extras import FaceRestoreExtras

__all__ = ["FaceRestoreExtras"]
