"""Audio files as windows of samples: one channel, one sample rate, -1..1, and a note of all that was changed."""

from linnet.data.audio_files.errors import UnreadableAudio
from linnet.data.audio_files.read import DecodedAudio, read_audio
from linnet.data.audio_files.windows import Windows, cut_windows

__all__ = ["DecodedAudio", "UnreadableAudio", "Windows", "cut_windows", "read_audio"]
