"""The error of all raw data."""

from linnet.errors import LinnetError


class RawDataError(LinnetError):
    """The raw data is missing, or is not in the layout it should have."""
