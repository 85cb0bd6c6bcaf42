"""The errors that this package raises on purpose.

Every message names the thing that is wrong (the option, the file, the picture) and the remedy, and can be shown to
users without change.
"""

from __future__ import annotations


class FaceRestoreError(Exception):
    """Base of everything this package raises on purpose; catch it to catch them all."""


class OptionError(FaceRestoreError, ValueError):
    """An option has a name or a value that is not allowed; the message lists what is."""


class InputError(FaceRestoreError, ValueError):
    """A picture, folder or array that was handed in cannot be used; the message says which and why."""


class ModelFileError(FaceRestoreError):
    """A model file is missing, damaged or of an unknown kind; the message says how to get a good one."""


class DownloadError(FaceRestoreError):
    """A model file could not be downloaded; nothing is left under its final name."""
