"""The errors that this package raises for wrong input.

Every message names what is wrong (the option, the file, the picture) and the remedy, and can be shown to users.
"""

from __future__ import annotations


class FaceRestoreError(Exception):
    """Base class of the errors that this package raises for wrong input; catch it to catch them all."""


class OptionError(FaceRestoreError, ValueError):
    """An option's name or value is not allowed; the message lists the allowed ones."""


class InputError(FaceRestoreError, ValueError):
    """A picture, folder or array cannot be used; the message says which and why."""


class TargetExistsError(InputError):
    """A file is not written, because there is one of that name and overwriting was not allowed."""


class ModelFileError(FaceRestoreError):
    """A model file is missing, damaged or of an unknown kind; the message says how to get a good one."""


class UnreadableFileError(ModelFileError):
    """A model file cannot be read, though it may be good: its permissions, the disk, or a missing package."""


class TooLittleMemoryError(FaceRestoreError, MemoryError):
    """A run over many files cannot go on for want of memory; the message says how to continue it."""


class DownloadError(FaceRestoreError):
    """A model file could not be downloaded; there is no file with its final name."""
