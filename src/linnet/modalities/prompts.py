"""What people mean by a prompt: the condition of a model, or a sentence that says why there is none."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from typing import assert_never

from linnet.errors import LinnetError
from linnet.modalities.statistics import ImageStatistics, Statistics
from linnet.models.conditioning import Condition, unknown_labels
from linnet.recipe import ClassLabel, Conditioning, MultiLabel, Text, Unconditional

MOST_NAMES = 10  # in a sentence


class PromptError(LinnetError):
    """The model takes no such prompt."""


def parse_prompt(section: Conditioning, statistics: Statistics, prompt: str) -> Condition:
    """The condition that a prompt means: a class, labels between commas or bars, or a text.

    A class is found by `find_class`. A label that has commas itself stands alone, or between bars.

    Raises:
        PromptError: the model takes no prompts, knows no such class or label, or never saw it in training; the message
            names similar ones.
    """
    match section:
        case Unconditional():
            raise PromptError("this model was trained with [conditioning] kind = 'none': it takes no prompt")
        case ClassLabel():
            assert isinstance(statistics, ImageStatistics), "check refuses class labels for audio"
            return find_class(section, statistics, prompt)
        case MultiLabel():
            return _find_labels(statistics, prompt)
        case Text():
            return prompt
        case _:
            assert_never(section)


def trained_classes(section: ClassLabel, statistics: ImageStatistics) -> list[int]:
    """The labels of the classes that the model saw in training."""
    counts = statistics.class_counts[: section.num_classes]
    return [label for label, count in enumerate(counts) if count]


def trained_labels(statistics: Statistics) -> list[str]:
    """The labels that the model saw in training, in the order of the statistics."""
    pairs = zip(statistics.labels, statistics.example_counts, strict=True)
    seen = {label for labels, count in pairs if count for label in labels}
    return [label for label in statistics.label_names if label in seen]


def find_class(section: ClassLabel, statistics: ImageStatistics, prompt: str) -> int:
    """The label of the class that `prompt` means.

    The first of these that fits any class decides: the name as it stands, or as messages and pages write it; the name
    without regard to case, underscores and the way Unicode spells a letter; a part of the name, which cuts no number in
    two and may leave out the zeros before it ("39" is a part of "039.Black_Finch", not of "139.Tern"); the number of
    the class in the data set.

    Raises:
        PromptError: nothing fits, several classes do, or the model never saw the class in training.
    """
    names, numbers = statistics.class_names, [str(number) for number in statistics.class_numbers]
    sought, folded = _folded(prompt), [_folded(name) for name in names]
    part, digits = _part(sought), re.sub(r"^0+(?=\d)", "", sought)
    for fits in (
        [prompt in (name, statistics.class_title(label)) for label, name in enumerate(names)],
        [name == sought for name in folded],
        [bool(sought) and part.search(name) is not None for name in folded],
        [number == digits for number in numbers],
    ):
        found = [label for label, is_found in enumerate(fits) if is_found]
        if len(found) > 1:
            raise PromptError(
                f"'{prompt}' names several classes of this model: {_listed(statistics, found)}; give a whole name, or "
                "the number of the class"
            )
        if found:
            check_trained(section, statistics, found[0], asked=f"'{prompt}'")
            return found[0]
    trained = trained_classes(section, statistics)
    close = difflib.get_close_matches(prompt, [names[label] for label in trained], n=5, cutoff=0.3)
    near = [label for label in trained if names[label] in close]
    hint = f"near it are {_listed(statistics, near)}" if near else f"it knows {_listed(statistics, trained)}"
    raise PromptError(f"'{prompt}' names no class of this model; {hint}")


def find_class_number(section: ClassLabel, statistics: ImageStatistics, number: int) -> int:
    """The label of the class that has this number in the data set.

    Raises:
        PromptError: there is none, or the model never saw it in training.
    """
    asked = f"class number {number}"
    if number not in statistics.class_numbers:
        known = [statistics.class_numbers[label] for label in trained_classes(section, statistics)]
        raise PromptError(f"{asked}: this model knows {_some([str(each) for each in known])}")
    label = statistics.class_numbers.index(number)
    check_trained(section, statistics, label, asked=asked)
    return label


def check_trained(section: ClassLabel, statistics: ImageStatistics, label: int, *, asked: str) -> None:
    """Raise PromptError, which names what was `asked` for, if the model never saw this class in training."""
    trained = trained_classes(section, statistics)
    if label not in trained:
        raise PromptError(
            f"{asked}: {statistics.class_title(label)} has no training examples, so the model never learnt it; it "
            f"knows {_listed(statistics, trained)}"
        )


def _part(sought: str) -> re.Pattern[str]:
    pattern = re.escape(re.sub(r"^0+(?=\d)", "", sought))
    before = r"(?<!\d)0*" if sought[:1].isdecimal() else ""
    return re.compile(before + pattern + (r"(?!\d)" if sought[-1:].isdecimal() else ""))


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())


def _listed(statistics: ImageStatistics, labels: Sequence[int]) -> str:
    return _some([statistics.class_title(label) for label in labels])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _find_labels(statistics: Statistics, prompt: str) -> tuple[str, ...]:
    labels = _split_labels(statistics.label_names, prompt)
    trained, faults = trained_labels(statistics), []
    if unknown := unknown_labels(labels, statistics.label_names):
        faults.append(unknown)
    if never := [label for label in labels if label in statistics.label_names and label not in trained]:
        names = ", ".join(f"'{label}'" for label in never)
        faults.append(f"no training example has {names}, so the model never learnt it")
    if faults:
        raise PromptError("; ".join(faults))
    return labels


def _split_labels(names: Sequence[str], prompt: str) -> tuple[str, ...]:
    if prompt.strip() in names:
        return (prompt.strip(),)
    separator = "|" if "|" in prompt else ","
    return tuple(label.strip() for label in prompt.split(separator) if label.strip())
