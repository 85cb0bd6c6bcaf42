"""Loaded by the WebUI: settings, the tab with the models, own API routes, X/Y/Z axes, the list of face restorers."""

from lib_facerestore.webui import callbacks
from lib_facerestore.webui.copies import is_first

if is_first(__file__):
    callbacks.register()
