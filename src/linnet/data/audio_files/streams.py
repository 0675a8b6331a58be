"""Formats that are streams of pages or frames: Ogg, FLAC, MP3."""

import re
import struct

from linnet.data.audio_files.bytes import FileBytes, Part
from linnet.data.audio_files.heads import (
    HEADS,
    Frame,
    after_tags,
    begins_recording,
    is_tag,
    mp3_frame,
)

OGG_PAGE = re.compile(rb"OggS\x00")
OGG_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")  # how the first packet of a stream begins
FIRST_PAGE, LAST_PAGE = 0x02, 0x04  # flags of a page, RFC 3533
MP3_FRAME_OR_HEAD = re.compile(HEADS.pattern + rb"|ID3[\x02-\x04]|\xff[\xe2-\xff]", re.DOTALL)
AFTER_FLAC = re.compile(HEADS.pattern + rb"|ID3[\x02-\x04]", re.DOTALL)
# A FLAC file gets searched from end to end: by long words, and by what most people join with it.
AFTER_FLAC_WORDS = (b"fLaC", b"ID3", b"OggS\x00\x02" + bytes(8), b"WAVEfmt ")
ID3V1_BYTES = 128  # of the tag that begins with TAG
MISCOUNTED_FRAMES = 3  # after the number that a header of lengths gives: encoders count differently


def scan_ogg(data: FileBytes, start: int) -> Part:
    """One link of a chain (RFC 3533): the streams that begin together at `start` and run until others begin."""
    place, has_begun, has_ended, num_audio = start, False, False, 0
    while place < data.size:
        page = data.at(place, 27 + 255)
        if not OGG_PAGE.match(page) or len(page) < 27:  # damaged: go on with the next page
            found = data.find(OGG_PAGE, place + 1)
            if found is None:
                break
            place = found
            continue
        body = 27 + page[26]
        if page[5] & FIRST_PAGE:
            if has_begun:
                break
            num_audio += data.at(place + body, 8).startswith(OGG_AUDIO)
        else:
            has_begun = True
        place += body + sum(page[27:body])
        has_ended = bool(page[5] & LAST_PAGE) and place <= data.size
    stop = min(place, data.size) if place > start else data.size
    notes = [f"{num_audio} audio streams play at once: the first is taken"] if num_audio > 1 else []
    if stop == data.size and not has_ended:
        notes.append("has no end mark: its end may be missing")
    return Part(start, stop, notes=tuple(notes))


def scan_flac(data: FileBytes, start: int) -> Part:
    """Up to where the next recording begins: the header does not say how many bytes there are."""
    place, is_last = after_tags(data, start) + 4, False
    while not is_last and len(head := data.at(place, 4)) == 4:  # metadata may hold the header of a WAV file
        is_last, place = head[0] >= 0x80, place + 4 + int.from_bytes(head[1:])
    while (found := data.find(AFTER_FLAC, place, words=AFTER_FLAC_WORDS)) is not None and not begins_recording(
        data, found
    ):
        place = found + 1
    return Part(start, found or data.size)


def scan_mp3(data: FileBytes, start: int) -> Part:
    """Frames up to the next tag or header of lengths, to where the rate changes, or to the number that was given."""
    place = after_tags(data, start)
    first = mp3_frame(data.at(place, 4))
    if first is None:
        return Part(start, data.size)
    num_frames, num_bytes = _lengths(data.at(place, 256), first)
    has_lengths = _has_lengths(data.at(place, 64), first)
    left = data.size - place - num_bytes
    if num_bytes and (abs(left) <= first.size or (left == ID3V1_BYTES and is_tag(data, data.size - left))):
        return Part(start, data.size)  # what the header says is there, and no more than a tag after it
    count, num_read, first_head = 0, 0, data.at(place, 4)
    while place < data.size:
        head = data.at(place, 64)
        frame = mp3_frame(head)
        if frame is None:
            if count and begins_recording(data, place):
                break
            place = place + ID3V1_BYTES if head.startswith(b"TAG") else _next_frame(data, place + 1)
        elif count and (
            (frame.sample_rate_hz, frame.is_mono) != (first.sample_rate_hz, first.is_mono)
            or _has_lengths(head, frame)
            or (num_frames and count > num_frames and _goes_on(data, place))
        ):
            break
        else:
            place, count, num_read = place + frame.size, count + 1, num_read + frame.size
    # Without a header of lengths libsndfile takes all frames to be as large as the first, and reads no further.
    is_as_large = abs(num_read - count * first.size) <= count + first.size  # some have a byte of padding
    prefix = b"" if has_lengths or is_as_large else _length_frame(first_head, first, count)
    return Part(start, min(place, data.size), prefix=prefix)


def _has_lengths(frame_bytes: bytes, frame: Frame) -> bool:
    place = 4 + frame.side_bytes
    return frame_bytes[place : place + 4] in (b"Xing", b"Info") or frame_bytes[36:40] == b"VBRI"


def _lengths(frame_bytes: bytes, frame: Frame) -> tuple[int, int]:
    """The numbers of frames after the first one and of bytes that a header of lengths gives; 0 where it doesn't."""
    if not _has_lengths(frame_bytes, frame):
        return 0, 0
    if frame_bytes[36:40] == b"VBRI":
        num_bytes, num_frames = struct.unpack(">II", frame_bytes[46:54])
        return num_frames, num_bytes
    place = 4 + frame.side_bytes + 4
    flags, *fields = struct.unpack(">III", frame_bytes[place : place + 12])
    num_frames = fields.pop(0) if flags & 1 else 0
    return num_frames, fields.pop(0) if flags & 2 else 0


def _length_frame(head: bytes, frame: Frame, num_frames: int) -> bytes:
    """A frame of silence with the number of frames after it, as a header of lengths."""
    lengths = b"Xing" + struct.pack(">II", 1, num_frames)
    return (head + bytes(frame.side_bytes) + lengths).ljust(frame.size, b"\0")


def _next_frame(data: FileBytes, place: int) -> int:
    """Where the next recording or the next two frames that follow one another begin, or the file ends."""
    while (found := data.find(MP3_FRAME_OR_HEAD, place)) is not None:
        if begins_recording(data, found):
            return found
        place = found + 1
    return data.size


def _goes_on(data: FileBytes, place: int) -> bool:
    """Whether so many frames begin at `place` that they are no error of counting."""
    for _ in range(MISCOUNTED_FRAMES):
        frame = mp3_frame(data.at(place, 4))
        if frame is None:
            return False
        place += frame.size
    return True
