"""Hostile 2-D images: other formats under a known suffix, bombs, and values that a reader would truncate."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from tests.support.hostile_files import Hostile, content, saved

GRAY = (np.arange(48).reshape(6, 8) * 5).astype(np.uint8)
AS_READ = GRAY.T[..., None]
COLOR = np.dstack([GRAY, GRAY[::-1], 255 - GRAY])
CLASSES = GRAY // 5 % 4
POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n"
    b"0 1 63 { /i exch def i 64 div setgray i 0 1 64 rectfill } for showpage\n"
)


def image(array: np.ndarray, kind: str, **options: object) -> bytes:
    """An array as a file of that format."""
    return saved(lambda stream: Image.fromarray(array).save(stream, kind, **options))


def _mode(mode: str, kind: str, **options: object) -> bytes:
    return saved(lambda stream: Image.fromarray(COLOR).convert(mode).save(stream, kind, **options))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *, bits: int = 8, color: int = 0, data: bytes = b"", more: bytes = b"") -> bytes:
    """A PNG with any header; `data` are the uncompressed pixels."""
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = _chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + more + body + _chunk(b"IEND", b"")


def _deep(channels: int, ending: str) -> bytes:
    values = np.random.default_rng(0).integers(0, 4096, (6, 8, channels)).astype(np.uint16)
    return cv2.imencode(ending, values)[1].tobytes()


def _palette() -> bytes:
    picture = Image.fromarray(CLASSES)
    picture.putpalette(bytes(range(12)))
    return saved(lambda stream: picture.save(stream, "PNG"))


def _frames(kind: str, *arrays: np.ndarray) -> bytes:
    first, *others = (Image.fromarray(array) for array in arrays)
    return saved(lambda stream: first.save(stream, kind, save_all=True, append_images=others))


def _low_bits(bits: int) -> bytes:
    """A gray PNG of 2 or 4 bits."""
    per_byte = 8 // bits
    rows = CLASSES.reshape(6, -1, per_byte)
    shifts = bits * np.arange(per_byte - 1, -1, -1)
    packed = (rows << shifts).sum(axis=-1).astype(np.uint8)
    return png(8, 6, bits=bits, data=b"".join(b"\0" + row.tobytes() for row in packed))


def _text_bomb() -> bytes:
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(60_000_000), 9))
    return png(8, 6, data=bytes(54), more=text * 20)


def _many_scans() -> bytes:
    """A progressive JPEG whose last scan comes two thousand times, on many pixels."""
    whole = image(np.zeros((4000, 4000), np.uint8), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * 2000 + whole[-2:]


def _tiff(entries: dict[int, tuple[int, int, int]], behind: bytes = b"", following: int = 0) -> bytes:
    """A TIFF with one directory; tag -> (type, count, value)."""
    rows = b"".join(struct.pack("<HHII", tag, *row) for tag, row in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", following) + behind


def _tiny_pages(count: int) -> bytes:
    """A TIFF of `count` pages of one pixel, all of which share the same byte."""
    entries = {256: (4, 1, 1), 257: (4, 1, 1), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8)}
    rows = b"".join(struct.pack("<HHII", tag, *row) for tag, row in sorted(entries.items()))
    size = 2 + len(rows) + 4
    starts = [16 + size * page for page in range(1, count)] + [0]
    pages = b"".join(struct.pack("<H", len(entries)) + rows + struct.pack("<I", start) for start in starts)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + pages


def _many_frames() -> bytes:
    """A GIF of 80 frames, each of four million pixels in a few bytes."""
    one = _frames("GIF", np.zeros((2000, 2000), np.uint8))
    start = 13 + 3 * 2 ** ((one[10] & 7) + 1)  # behind the palette
    return one[:start] + one[start:-1] * 80 + one[-1:]


_HEAD = {
    256: (4, 1, 8),
    257: (4, 1, 6),
    258: (3, 1, 8),
    259: (3, 1, 1),
    262: (3, 1, 1),
    273: (4, 1, 200),
    277: (3, 1, 1),
    278: (4, 1, 6),
    279: (4, 1, 48),
}
_PADDED = bytes(200 - 8 - 2 - 12 * len(_HEAD) - 4) + GRAY.tobytes()
ANNOTATED = PngImagePlugin.PngInfo()
ANNOTATED.add_text("Comment", "x" * 1000)

READ: dict[str, tuple[bytes, str, np.ndarray | None]] = {
    "gray PNG": (image(GRAY, "PNG"), ".png", AS_READ),
    "gray PNG with text": (image(GRAY, "PNG", pnginfo=ANNOTATED), ".png", AS_READ),
    "gray TIFF": (image(GRAY, "TIFF"), ".tif", AS_READ),
    "gray BMP": (image(GRAY, "BMP"), ".bmp", AS_READ),
    "palette": (_palette(), ".png", CLASSES.T[..., None]),
    "2 bits": (_low_bits(2), ".png", CLASSES.T[..., None]),
    "4 bits": (_low_bits(4), ".png", CLASSES.T[..., None]),
    "1 bit": (saved(lambda s: Image.fromarray(GRAY > 99).save(s, "PNG")), ".png", (GRAY > 99).T[..., None]),
    "gray and alpha": (_mode("LA", "PNG"), ".png", np.asarray(Image.fromarray(COLOR).convert("L")).T[..., None]),
    "a TIFF that ends in itself": (_tiff(_HEAD, _PADDED, following=8), ".tif", AS_READ),
}
REFUSED: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    **{f"PostScript as {end}": (POSTSCRIPT, end) for end in (".png", ".tif", ".gif", ".jpg", ".bmp")},
    "PostScript behind a preview": (
        b"\xc5\xd0\xd3\xc6" + struct.pack("<IIIIII", 30, len(POSTSCRIPT), 0, 0, 0, 0) + POSTSCRIPT,
        ".png",
    ),
    "PDF": (saved(lambda s: Image.fromarray(COLOR).save(s, "PDF")), ".png"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", ".png"),
    "PPM": (saved(lambda s: Image.fromarray(COLOR).save(s, "PPM")), ".png"),
    "ICO": (saved(lambda s: Image.fromarray(COLOR).save(s, "ICO")), ".png"),
    "TGA": (saved(lambda s: Image.fromarray(COLOR).save(s, "TGA")), ".png"),
    "PCX": (saved(lambda s: Image.fromarray(COLOR).save(s, "PCX")), ".bmp"),
    "JPEG 2000": (saved(lambda s: Image.fromarray(COLOR).save(s, "JPEG2000")), ".jpg"),
    "HTML": (b"<html>404</html>", ".png"),
    "zeros": (bytes(3000), ".png"),
    "nothing": (b"", ".png"),
    "100000 x 100000 pixels": (png(100_000, 100_000), ".png"),
    "2 to the 31 pixels in a row": (png(2**31 - 1, 1), ".png"),
    "9500 x 9500 pixels": (png(9500, 9500), ".png"),
    "no pixels": (png(0, 0), ".png"),
    "pixels missing": (png(800, 600, data=bytes(30)), ".png"),
    "3 bits": (png(8, 6, bits=3, data=bytes(54)), ".png"),
    "color of 16 bits": (_deep(3, ".png"), ".png"),
    "color and alpha of 16 bits": (_deep(4, ".png"), ".png"),
    "gray and alpha of 16 bits": (png(8, 6, bits=16, color=4, data=bytes(6 * 33)), ".png"),
    "color of 16 bits, TIFF": (_deep(3, ".tif"), ".tif"),
    "color": (image(COLOR, "PNG"), ".png"),
    "color and alpha": (_mode("RGBA", "PNG"), ".png"),
    "four inks": (_mode("CMYK", "JPEG"), ".jpg"),
    "text of 1.2 GB": (_text_bomb, ".png"),
    "a checksum is wrong": (image(GRAY, "PNG").replace(b"IDAT", b"IDAU"), ".png"),
    "cut PNG": (image(GRAY, "PNG")[:50], ".png"),
    "cut JPEG": (image(COLOR, "JPEG")[:200], ".jpg"),
    "cut GIF": (_frames("GIF", GRAY)[:40], ".gif"),
    "cut TIFF": (image(GRAY, "TIFF")[:60], ".tif"),
    "cut BMP": (image(GRAY, "BMP")[:60], ".bmp"),
    "two thousand scans": (_many_scans, ".jpg"),
    "pages of two sizes": (_frames("TIFF", GRAY, GRAY[:3]), ".tif"),
    "TIFF of 60000 x 60000": (_tiff(_HEAD | {256: (4, 1, 60000), 257: (4, 1, 60000)}, _PADDED), ".tif"),
    "TIFF of 2100 pages": (lambda: _tiny_pages(2100), ".tif"),
    "GIF of 320 million pixels": (_many_frames, ".gif"),
    "TIFF without sizes": (_tiff({259: (3, 1, 1)}), ".tif"),
    "TIFF tag of 4 GB": (_tiff(_HEAD | {270: (2, 2**32 - 1, 8)}, _PADDED)[:150], ".tif"),
    "TIFF strip beyond the end": (_tiff(_HEAD | {273: (4, 1, 10**9)}, _PADDED), ".tif"),
    "TIFF of no directory": (b"II*\0" + struct.pack("<I", 2**31), ".tif"),
    "BMP of negative width": (image(GRAY, "BMP")[:18] + struct.pack("<i", -8) + image(GRAY, "BMP")[22:], ".bmp"),
    "BMP of 2 GB": (image(GRAY, "BMP")[:18] + struct.pack("<ii", 50000, 50000) + image(GRAY, "BMP")[26:], ".bmp"),
    "GIF of 65535 x 65535": (b"GIF89a\xff\xff\xff\xff\xf0\0\0" + _frames("GIF", GRAY)[13:], ".gif"),
}


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "scan.png")
    return folder / "scan.png"


def _device(folder: Path) -> Path:
    (folder / "scan.png").symlink_to("/dev/zero")
    return folder / "scan.png"


FILES = [
    *(content(name, "image", data, end, expected=array) for name, (data, end, array) in READ.items()),
    *(content(name, "image", data, end) for name, (data, end) in REFUSED.items()),
    content("two frames of a GIF", "image", _frames("GIF", GRAY, GRAY[::-1]), ".gif", either=True),
    content("a gray JPEG", "image", image(GRAY, "JPEG"), ".jpg", either=True),
    Hostile("a pipe", "image", _pipe),
    Hostile("a device", "image", _device),
]
