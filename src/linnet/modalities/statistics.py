"""What preprocess measures on the train split, as statistics.json holds it."""

from typing import Any

Statistics = dict[str, Any]
