"""The degradations of a recipe's [restore], one a file: what they do to examples, and what is known of files."""

from linnet.inference.degradations.base import AnyDegradation, DegradationProcess
from linnet.inference.degradations.build import build_degradation
from linnet.inference.degradations.files import RestorationError, RestorationInput

__all__ = ["AnyDegradation", "DegradationProcess", "RestorationError", "RestorationInput", "build_degradation"]
