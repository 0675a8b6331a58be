"""Statistics of two small datasets, and a [conditioning] section of each kind."""

from linnet.recipe import ClassLabel, MultiLabel, Text, TrainedTextEncoder, Unconditional
from support.statistics import audio_statistics, image_statistics

CLASSES = image_statistics(
    class_names=["001.Ruby_Linnet", "002.Song_Sparrow", "003.Fox_Sparrow", "sparrow"], class_counts=[3, 0, 1, 4]
)
RECORDINGS = audio_statistics(
    label_names=["bell", "flute", "minor", "slow"],
    recordings=[
        {"name": "a", "labels": ["flute", "slow", "minor"], "caption": ""},
        {"name": "b", "labels": ["bell"], "caption": "one bell"},
        {"name": "c", "labels": [], "caption": "nobody knows"},
        {"name": "d", "labels": [], "caption": ""},
    ],
    recording_counts=[5, 0, 2, 1],
)
ENCODER = TrainedTextEncoder(kind="trained", num_buckets=64, width=8, num_heads=1, max_words=8)
TEXT = Text(kind="text", encoder=ENCODER, dropout=0.25)
LABELS = MultiLabel(kind="multi_label", num_labels=6, dropout=0.25)
CLASS = ClassLabel(kind="class_label", num_classes=4, dropout=0.25)
UNCONDITIONAL = Unconditional(kind="none")
