"""ICC profiles made from their numbers (ICC.1:2001-04, version 2.1), and what they mean."""

import struct

import numpy as np
from numpy.typing import NDArray

D50 = (0.9642, 1.0, 0.8249)
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))  # XYZ of R, G, B at D50
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def rgb_profile(primaries: tuple[tuple[float, ...], ...], gamma: float) -> bytes:
    """A display whose channels are light^(1 / gamma)."""
    colours = {f"{name}XYZ".encode(): _xyz(*xyz) for name, xyz in zip("rgb", primaries, strict=True)}
    curves = {f"{name}TRC".encode(): _curve(gamma) for name in "rgb"}
    return _profile(b"RGB ", b"mntr", b"XYZ ", colours | curves)


def grey_profile(gamma: float) -> bytes:
    """Grey whose value is light^(1 / gamma)."""
    return _profile(b"GRAY", b"mntr", b"XYZ ", {b"kTRC": _curve(gamma)})


def ink_profile(corners: NDArray[np.float64]) -> bytes:
    """Printing inks; `corners` [2, 2, 2, 2, 3] is L*a*b* without and with each of C, M, Y, K, linear in between."""
    lightness, chroma = corners[..., :1] * 255 / 100, corners[..., 1:] + 128
    table = np.concatenate([lightness, chroma], axis=-1).round().astype(np.uint8)
    ramp = bytes(range(256))
    matrix = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + table.tobytes() + ramp * 3
    return _profile(b"CMYK", b"prtr", b"Lab ", {b"A2B0": lut, b"A2B1": lut})


def to_srgb(rgb: NDArray[np.float64], primaries: tuple[tuple[float, ...], ...], gamma: float) -> NDArray[np.float64]:
    """What colours [..., 3] in 0..255 of `rgb_profile` are in sRGB, unrounded, by the definition."""
    light = (rgb / 255) ** gamma @ np.array(primaries) @ np.linalg.inv(np.array(SRGB))
    return srgb_curve(light)


def srgb_curve(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light as sRGB's values in 0..255 (IEC 61966-2-1)."""
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def lab_to_srgb(lab: tuple[float, float, float]) -> NDArray[np.float64]:
    """CIE L*a*b* at D50 in sRGB."""
    y = (lab[0] + 16) / 116
    f = np.array([y + lab[1] / 500, y, y - lab[2] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50
    return srgb_curve(xyz @ np.linalg.inv(np.array(SRGB)))


def _profile(space: bytes, kind: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz(*D50)} | tags
    start, table, data = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(">I4xI4s4s4s12s4s", start + len(data), 0x02100000, kind, space, pcs, bytes(12), b"acsp")
    head += bytes(28) + _fixed(*D50)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + data


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
