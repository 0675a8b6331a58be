"""Why a recording cannot be used."""


class UnreadableAudio(ValueError):
    """One recording cannot be used; its text is the reason written to rejected.csv."""


class TooLongAudio(UnreadableAudio):
    """More than anybody trains on at once."""
