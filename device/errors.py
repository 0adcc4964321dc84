"""Errors answer two questions: whose fault, and can we go on?

Everything a user can cause or mend is a `BeheldError`: the command line prints it as one plain line
and exits with 2. Anything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations


class BeheldError(Exception):
    """Root of the errors a user can do something about. Its text names what, where and the remedy."""


class ConfigError(BeheldError):
    """Settings are wrong. Ours to refuse before anything starts."""


class InputError(BeheldError):
    """A recording, image, table or label file cannot be used. Theirs; name file, place and remedy."""


class ModelError(BeheldError):
    """A model file is missing, damaged, of another version, or contradicts its own contract."""


class StorageError(BeheldError):
    """A disk is full or a folder cannot be written. What was complete before stays complete."""


class SyncError(BeheldError):
    """The companion server cannot be reached, refuses, or answers what we must not believe."""


class LinkError(BeheldError):
    """A camera or the microcontroller is lost. Reopen; the interval becomes a `Gap`."""
