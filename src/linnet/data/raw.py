"""What every kind of raw data can be found to be: not usable."""

from linnet.errors import LinnetError


class RawDataError(LinnetError):
    """The raw data is missing, or is not in the layout it should have."""
