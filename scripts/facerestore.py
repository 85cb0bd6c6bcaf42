"""Loaded by the WebUI: the accordion "Face Restore" in txt2img and img2img."""

from lib_facerestore.webui.copies import is_first

if is_first(__file__):  # the WebUI takes every class that it finds here
    from lib_facerestore.webui.generation.script import FaceRestoreScript as FaceRestoreScript
