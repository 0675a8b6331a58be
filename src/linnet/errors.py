"""The base of all errors that are meant for people: where, what was given, what to do now."""


class LinnetError(ValueError):
    """Shown as one message without a traceback."""
