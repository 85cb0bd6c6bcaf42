"""The WebUI loads this file: "Face Restore" in the Extras tab."""

from lib_facerestore.webui.copies import is_first

if is_first(__file__):  # the WebUI takes every class that it finds here
    from lib_facerestore.webui.extras import FaceRestoreExtras as FaceRestoreExtras
