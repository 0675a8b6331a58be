"""Labels as people's tables write them: text with the recipe's separator, or lists of Python, JSON or NumPy."""

import ast
import collections
import json
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

from linnet.data.layouts.metadata import check_label, clean
from linnet.data.raw import RawDataError
from linnet.recipe import Audio

SEPARATORS = (",", ";", "|")  # that people put between labels, besides the recipe's
MANY = 1 / 4  # of the cells: so many with another separator, whose parts come again, are no accident
MOST = 0.9  # of the cells: so many lists of bare numbers are lists, fewer may be names such as [1]
FROM_LIST, OTHER_SEPARATOR = "labels read from a list", "one label, with {separator!r} in it"

_TEXT = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_BARE = r"(?:[-+]?\d[\d.eE+-]*|nan|NaN|null|None|true|false|True|False)"
_ITEM = rf"(?:{_TEXT}|{_BARE})"
# Between brackets, with commas as Python and JSON write them, or without as NumPy does: Python would join those texts.
_LIST = re.compile(rf"[\[({{]\s*(?:{_ITEM}(?:(?:\s*,\s*|\s+){_ITEM})*\s*,?)?\s*[\])}}]")
_ARRAY = re.compile(r"(?:np\.|numpy\.)?array\((\[.*\])(?:,\s*dtype=[^()]*)?\)")
_WRAPPED = re.compile(r"(?:frozenset|set|tuple|list)\((.*)\)")
_BROKEN = re.compile(r"""\s*(?:\w+\(\s*)?[\[{]\s*['"\[{(]""")  # begins as a list of texts or of lists, and is none
_EMPTY = ("[]", "()", "{}")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_MISSING = ("nan", "NaN", "null", "None")


class Labels(NamedTuple):
    """Of one recording, each once in the order of its cell, and a note, "" for none."""

    names: tuple[str, ...]
    note: str


def join_labels(labels: Sequence[str], column: str, data: Audio, *, where: str) -> str:
    """The entries of a list as one cell of metadata.csv, from which `read_labels` reads the same.

    Raises RawDataError as `check_label` does.
    """
    checked = [check_label(label, column, data, where=where) for label in labels]
    others = [separator for separator in SEPARATORS if separator != data.label_separator]
    is_odd = any(label.startswith(tuple(_BRACKETS)) or any(map(label.__contains__, others)) for label in checked)
    if column == data.labels_column and is_odd:
        return json.dumps(checked, ensure_ascii=False)
    return data.label_separator.join(checked)


def read_labels(texts: Sequence[str], data: Audio, where: Callable[[int], str]) -> list[Labels]:
    """The labels in each text.

    Args:
        texts: cells on one line each.
        where: file and line of a text by its number, for messages.

    Raises:
        RawDataError: a list that cannot be read, or labels that are separated by something else than the recipe says.
    """
    lists = [_parse_list(text) for text in texts]
    if any(lists):  # among lists these are what a program writes for none
        lists = [[] if text.strip() in _MISSING else each for text, each in zip(texts, lists, strict=True)]
    num_filled = sum(bool(text.strip()) and each != [] for text, each in zip(texts, lists, strict=True))
    are_lists = sum(bool(each) for each in lists) >= MOST * num_filled
    lists = [
        each if are_lists or _has_quotes(text) or not each else None for text, each in zip(texts, lists, strict=True)
    ]
    plain = {number: text for number, text in enumerate(texts) if lists[number] is None and text.strip()}
    _check_brackets(plain, num_filled, where, data)
    odd = _other_separator(plain, data, where)
    read = []
    for text, entries in zip(texts, lists, strict=True):
        note = FROM_LIST if entries is not None else ""
        if entries is None and odd and odd in text:
            note = OTHER_SEPARATOR.format(separator=odd)
        found = text.split(data.label_separator) if entries is None else [clean(entry)[0] for entry in entries]
        read.append(Labels(tuple(dict.fromkeys(label.strip() for label in found if label.strip())), note))
    for number, (labels, note) in enumerate(read):
        if note == FROM_LIST:
            _check_entries(labels, data, where(number))
    return read


def _check_entries(labels: Sequence[str], data: Audio, where: str) -> None:
    for label in labels:
        check_label(label, data.labels_column, data, where=where)
        if any(unicodedata.category(letter) == "Cs" for letter in label):
            raise RawDataError(f"{where}: label {label[:80]!r} holds half a character, which no text in UTF-8 has")


def _has_quotes(text: str) -> bool:
    return re.search(_TEXT, text) is not None


def _parse_list(text: str) -> list[str] | None:
    """The entries of a list of texts, numbers and nothing; None where `text` is no such list."""
    text = text.strip()
    if match := _ARRAY.fullmatch(text) or _WRAPPED.fullmatch(text):
        text = match[1] or "[]"
    if "".join(text.split()) in _EMPTY:
        return []
    if not text or _BRACKETS.get(text[0], "") != text[-1] or not _LIST.fullmatch(text):
        return None
    if text[0] != "[" and not _has_quotes(text):  # (live) and {1} are names
        return None
    return [entry for item in re.findall(_ITEM, text[1:-1]) if (entry := _entry(item))]


def _entry(item: str) -> str:
    """The text of one item, "" for nothing."""
    if item in _MISSING:
        return ""
    if item[0] not in "'\"":
        return item
    try:
        return str(json.loads(item))  # the escapes of JSON, where it has any, and of Python where it hasn't
    except ValueError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are none, as in 'R\&B'
            return str(ast.literal_eval(item))


def _check_brackets(plain: dict[int, str], num_filled: int, where: Callable[[int], str], data: Audio) -> None:
    """Raise RawDataError where labels are lists in a form that cannot be read."""
    bracketed = [
        number for number, text in plain.items() if (text.strip()[0], text.strip()[-1]) in (("[", "]"), ("{", "}"))
    ]
    broken = [number for number, text in plain.items() if _BROKEN.match(text)]
    if len(bracketed) >= MOST * num_filled:
        broken = bracketed
    if broken:
        raise RawDataError(
            f"{where(broken[0])}: labels {plain[broken[0]][:80]!r} look like a list, and cannot be read as one of "
            f'Python, JSON or NumPy; write ["bell", "slow"], or bell{data.label_separator}slow'
        )


def _other_separator(plain: dict[int, str], data: Audio, where: Callable[[int], str]) -> str:
    """What separates labels in some cells that hold the recipe's separator nowhere; "" for nothing.

    Raises RawDataError where there are too many of them to be names.
    """
    without = {number: text for number, text in plain.items() if data.label_separator not in text}
    found = {each: [number for number, text in without.items() if each in text] for each in SEPARATORS}
    separator = max(SEPARATORS, key=lambda each: len(found[each]))
    numbers = found[separator]
    if not numbers or separator == data.label_separator:
        return ""
    if len(numbers) >= MANY * len(plain) and _come_again(plain, numbers, separator, data.label_separator):
        others = len(plain) - len(without)
        cells = f"{others or 'no'} {'cell' if others <= 1 else 'cells'} of column {data.labels_column!r}"
        raise RawDataError(
            f"{where(numbers[0])}: {plain[numbers[0]][:80]!r} would be one label: {cells} with data.label_separator = "
            f"{data.label_separator!r}, and {len(numbers)} of {len(plain)} with {separator!r}. "
            + ("Write all with one of them" if others else f"Set data.label_separator = {json.dumps(separator)}")
            + '; a label that holds one is written as a list: ["Bach, J. S."]'
        )
    return separator


def _come_again(plain: dict[int, str], numbers: list[int], separator: str, recipes: str) -> bool:
    """Whether what `separator` separates in the cells `numbers` are labels of other cells, too, and so no accident."""
    if not any(recipes in text for text in plain.values()):
        parts = collections.Counter(part.strip() for text in plain.values() for part in set(text.split(separator)))
        return any(parts[part.strip()] > 1 for number in numbers for part in plain[number].split(separator))
    labels = {label.strip() for text in plain.values() for label in text.split(recipes)}  # where both are in use
    return sum(labels.issuperset(map(str.strip, plain[each].split(separator))) for each in numbers) * 2 > len(numbers)
