"""How recordings begin, for finding one after another in the same file."""

import re
from dataclasses import dataclass

from linnet.data.audio_files.bytes import FileBytes

HEADS = re.compile(
    rb"RIF[FX]....WAVE|RF64....WAVE|FORM....AIF[FC]|OggS\x00\x02|fLaC[\x00\x80]\x00\x00\x22|caff\x00\x01\x00\x00"
    rb"|riff\x2e\x91\xcf\x11\xa5\xd6|\.snd\x00\x00.{6}\x00\x00\x00[\x01-\x1b]",
    re.DOTALL,
)
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # which many programs put after any format
# kbit/s by (is MPEG-1, layer), ISO 11172-3 and 13818-3
BIT_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}  # by version bits


@dataclass(frozen=True)
class Frame:
    """The head of a frame of MPEG audio."""

    size: int  # bytes
    sample_rate_hz: int
    is_mono: bool
    side_bytes: int  # after the head, before a header of lengths


def begins_recording(data: FileBytes, place: int) -> bool:
    """Whether a recording of a known format begins there, perhaps with a tag before it."""
    begin = after_tags(data, place)
    return HEADS.match(data.at(begin, 64)) is not None or begins_mp3(data, begin)


def is_tag(data: FileBytes, place: int) -> bool:
    """Whether a tag of words begins there."""
    return data.at(place, 16).lstrip(b"\x00").startswith(TAGS)


def begins_mp3(data: FileBytes, place: int) -> bool:
    """Whether two frames of MPEG audio follow there one another."""
    first = mp3_frame(data.at(place, 4))
    return first is not None and mp3_frame(data.at(place + first.size, 4)) is not None


def after_tags(data: FileBytes, place: int) -> int:
    """Where the ID3v2 tags end that begin at `place`, if any do."""
    while (head := data.at(place, 10)).startswith(b"ID3") and len(head) == 10:
        size = sum((value & 0x7F) << shift for value, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        place += 10 + size
    return place


def mp3_frame(head: bytes) -> Frame | None:
    """The frame with these first four bytes; None where it is none, or its size is not in them (free format)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate, padding, bits = head[2] >> 2 & 3, head[2] >> 1 & 1, head[2] >> 4
    if version == 1 or layer == 4 or rate == 3 or bits in (0, 15):
        return None
    is_first, rate_hz = version == 3, SAMPLE_RATES[version][rate]
    bits_per_second = 1000 * BIT_RATES[is_first, layer][bits]
    if layer == 1:
        size = (12 * bits_per_second // rate_hz + padding) * 4
    else:
        size = (144 if is_first or layer == 2 else 72) * bits_per_second // rate_hz + padding
    is_mono = head[3] >> 6 == 3
    return Frame(size, rate_hz, is_mono, (17 if is_mono else 32) if is_first else (9 if is_mono else 17))
