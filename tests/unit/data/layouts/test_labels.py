"""Labels as text and as lists of other programs: what is in them, and what is no way to write them."""

import pytest

from linnet.data.layouts.labels import FROM_LIST, join_labels, read_labels
from linnet.data.raw import RawDataError
from support.audio_section import AUDIO


def read(*texts: str, separator: str = "|") -> list[tuple[tuple[str, ...], str]]:
    data = AUDIO.model_copy(update={"label_separator": separator})
    return [(labels, note) for labels, note in read_labels(texts, data, lambda number: f"table, line {number + 2}")]


@pytest.mark.parametrize(
    "text",
    [
        "['flute', 'slow']",
        '["flute", "slow"]',
        "['flute' 'slow']",  # numpy; Python reads one text
        "('flute', 'slow')",
        "['flute', \"slow\",]",
        "array(['flute', 'slow'], dtype=object)",
        "np.array(['flute', 'slow'])",
        "array(['flute', 'slow'], dtype='<U5')",
        ' [ "flute" ,"slow","flute", null, nan, "" ] ',
        "flute|slow",
        "flute | slow|",
    ],
)
def test_two_labels_however_they_are_written(text: str) -> None:
    (labels, note), *others = read(text, "['bell']", "", "[]", "bell")
    assert labels == ("flute", "slow")
    assert note == ("" if "flute|" in text or "flute |" in text else FROM_LIST)
    assert others == [(("bell",), FROM_LIST), ((), ""), ((), FROM_LIST), (("bell",), "")]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("{'flute'}", ("flute",)),
        ("[\"it's\", 'a, b']", ("it's", "a, b")),
        (r'["fl\u00fbte", "a\/b"]', ("fl\u00fbte", "a/b")),
        (r"['R\&B', 'it\'s', 'a\tb']", (r"R\&B", "it's", "a b")),
        ("[1, 2]", ("1", "2")),
        ("[True, 0.5]", ("True", "0.5")),
        ("('live')", ("live",)),
        ("(live)", ("(live)",)),
        ("Beethoven [Op. 9]", ("Beethoven [Op. 9]",)),
        ('"Heroes" (live)', ('"Heroes" (live)',)),
    ],
)
def test_entries_are_read_exactly(text: str, labels: tuple[str, ...]) -> None:
    assert read(text)[0][0] == labels


def test_a_bare_number_in_brackets_is_a_name_where_others_are_no_lists() -> None:
    assert [labels for labels, _ in read("a", "b", "[1]")] == [("a",), ("b",), ("[1]",)]
    assert [labels for labels, _ in read("a", "b", "['x', 'y']")] == [("a",), ("b",), ("x", "y")]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["[flute, fast]", "[bell]"], r"line 2: labels '\[flute, fast\]' look like a list, and cannot be read"),
        (["{flute,fast}"], "look like a list"),
        (["a", "['a' 'b' ... 'z']"], r"line 3: labels .* look like a list"),  # NumPy leaves out the middle of long ones
        (["[{'name': 'rock'}]"], "look like a list"),
        (["{'name': 'rock'}"], "look like a list"),
        (["[['a'], ['b']]"], "look like a list"),
        (["['a|b']"], r"line 2: label 'a\|b' holds '\|', which would make two labels of it"),
        ([r'["\ud83d"]'], "half a character"),
        (
            ["flute, fast", "bell, slow"] * 2,
            r"line 2: 'flute, fast' would be one label: .* = '\|', and 4 of 4 with ','",
        ),
        (["flute", "flute;fast"], r"line 3: 'flute;fast' would be one label: .* Set data\.label_separator = \";\";"),
        (["flute,fast", "flute,slow", "bell", "bell"], "2 of 4 with ','"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(texts: list[str], message: str) -> None:
    with pytest.raises(RawDataError, match=message) as caught:
        read(*texts)
    assert str(caught.value).startswith("table, line ")


def test_other_separators_than_the_recipes() -> None:
    with pytest.raises(RawDataError, match=r"'a\|b' would be one label: .* = ',', and 2 of 2 with '\|'"):
        read("a|b", "b|c", separator=",")
    assert [labels for labels, _ in read("a, b", "b", separator=",")] == [("a", "b"), ("b",)]
    assert [labels for labels, _ in read("a, b", "a, c", "d|e")] == [("a, b",), ("a, c",), ("d", "e")]  # it is used
    names = read("Bach, J. S.", "Haydn, J.", "Holst")  # nothing comes again: perhaps names, so it is only said
    assert names[0] == (("Bach, J. S.",), "one label, with ',' in it")
    assert names[2] == (("Holst",), "")
    assert read('["Bach, J. S."]', '["Bach, J. S."]')[0] == (("Bach, J. S.",), FROM_LIST)


@pytest.mark.parametrize("labels", [["a", "b"], ["Folk, World", "a;b"], ["a"], ['it\'s "so", so'], []])
def test_what_was_joined_is_read_again(labels: list[str]) -> None:
    data = AUDIO.model_copy(update={"labels_column": "labels"})
    cell = join_labels(labels, "labels", data, where="")
    assert list(read(cell, cell)[0][0]) == labels
    assert join_labels(["a, b", "c"], "caption", data, where="") == "a, b|c"


def test_among_lists_nothing_is_written_in_many_ways() -> None:
    texts = ["{'bell'}", "{'bell', 'flute'}", "set()", "()", "nan", "None", "frozenset({'bell'})", "['flute']"]
    assert [labels for labels, _ in read(*texts)] == [
        ("bell",),
        ("bell", "flute"),
        (),
        (),
        (),
        (),
        ("bell",),
        ("flute",),
    ]


@pytest.mark.parametrize("broken", ["['bell', 'flute'", "frozenset({'bell', [1]})"])
def test_a_list_that_is_none_is_called_so(broken: str) -> None:
    with pytest.raises(RawDataError, match=r"table, line 3: labels .* look like a list"):
        read("bell", broken, "flute")


def test_an_empty_list_hides_no_lists_without_quotes() -> None:
    with pytest.raises(RawDataError, match="look like a list"):
        read("[bell]", "[flute]", "[bell, flute]", "[piano]", "[]", "[flute, piano]", "[piano]", "[bell]")


def test_one_cell_with_the_recipes_separator_hides_no_commas() -> None:
    with pytest.raises(RawDataError, match=r"'bell, flute' would be one label: 1 cell of column .*Write all with one"):
        read("bell|flute", "bell, flute", "bell, piano", "piano", "bell", "flute, bell", "bell", "piano")
    names = read("Bach, J. S.|organ", "Bach, J. S.", "Bach, J. S.|piano", "organ", "piano", "Bach, J. S.")
    assert [labels[0] for labels, _ in names] == ["Bach, J. S."] * 3 + ["organ", "piano", "Bach, J. S."]
