"""Files and requests that mean harm, made here: each a name, the bytes, and what it says that it is."""

import io
import json
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from ferflow.images import encode_png


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48), **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(*tags: tuple[int, int, int, int]) -> bytes:
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + rows + struct.pack("<I", 0) + b"\0" * 64


def files() -> Iterator[tuple[str, bytes]]:
    """Contents of what should be a picture."""
    good, jpeg = picture(), picture("JPEG")
    yield "empty", b""
    yield "text", b"this is no picture"
    yield "null bytes", b"\0" * 1000
    yield "random", np.random.default_rng(1).bytes(5000)
    yield "html", b"<!doctype html><script>alert(1)</script>"
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "xml bomb", b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><svg>&b;</svg>'
    yield "pdf", b"%PDF-1.7\n1 0 obj"
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file"
    yield "zip", b"PK\x03\x04" + b"\0" * 100
    yield "pickle", b"\x80\x05\x95\x1f\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94."
    yield "elf", b"\x7fELF" + b"\0" * 200
    for share in (0.01, 0.1, 0.5, 0.9, 0.99):
        yield f"png cut at {share}", good[: int(len(good) * share)]
        yield f"jpeg cut at {share}", jpeg[: int(len(jpeg) * share)]
    yield "png of 2^31", png(2**31 - 1, 2**31 - 1, b"")
    yield "png of 20000", png(20_000, 20_000, zlib.compress(b"\0" * 100))
    yield "png wide", png(1_000_000, 1, zlib.compress(b"\0" * 3_000_001))
    yield "png of nothing", png(0, 0, zlib.compress(b""))
    yield "png bomb", png(1900, 1900, zlib.compress(b"\0" * 40_000_000, 9))
    yield "png bomb 16 bit", png(1990, 1990, zlib.compress(b"\0" * (1990 * 8 + 1) * 1990, 9), 16, 6)
    yield (
        "png text bomb",
        png(8, 8, zlib.compress(b"\0" * 200), extra=chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 50_000_000, 9))),
    )
    yield (
        "png profile bomb",
        png(8, 8, zlib.compress(b"\0" * 200), extra=chunk(b"iCCP", b"p\0\0" + zlib.compress(b"x" * 50_000_000, 9))),
    )
    yield "png wrong sums", good[:40] + b"\xff\xff\xff" + good[43:]
    yield (
        "png without data",
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""),
    )
    yield "png palette missing", png(9, 9, zlib.compress(b"\0" * 90), 8, 3)
    yield "jpeg without tables", b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"
    yield "jpeg of segments", b"\xff\xd8" + b"\xff\xe1\x00\x02" * 200_000
    yield (
        "jpeg with 65535 a side",
        jpeg.replace(jpeg[jpeg.index(b"\xff\xc0") + 5 : jpeg.index(b"\xff\xc0") + 9], b"\xff\xff\xff\xff", 1),
    )
    frames = [Image.new("P", (64, 64), number % 256) for number in range(500)]
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:], duration=10)
    yield "gif of 500 frames", gif.getvalue()
    yield "gif of 65535", b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0" * 6 + b",\0\0\0\0\xff\xff\xff\xff\0\x08\0;"
    yield "webp cut", picture("WEBP")[:60]
    yield (
        "bmp of 2^31",
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    )
    yield (
        "bmp rle",
        b"BM"
        + struct.pack("<IHHI", 60, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 900, 900, 1, 8, 1, 0, 0, 0, 0, 0)
        + b"\xff" * 6,
    )
    yield "ppm of 10^9", b"P6 1000000000 1000000000 255\n" + b"\0" * 30
    yield "ppm of a long number", b"P6 " + b"9" * 10_000 + b" 1 255\n"
    yield "tiff of 10^9", tiff((256, 4, 1, 10**9), (257, 4, 1, 10**9), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8))
    yield "tiff of tags", tiff(*[(256 + number, 4, 2**31, 2**32 - 1) for number in range(200)])
    yield "tiff that points at itself", b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8)
    yield "tiff compressed", picture("TIFF", compression="tiff_deflate")[:300]
    yield "jpeg 2000 cut", b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40
    yield "avif header", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + b"\xff" * 60
    yield "mp4", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 100
    yield "polyglot gif js", b"GIF89a=1;alert(1)//" + gif.getvalue()[10:400]
    yield "polyglot jpeg zip", jpeg + b"PK\x03\x04payload"
    yield "polyglot png php", good + b"<?php system($_GET['c']); ?>"
    yield "one pixel", encode_png(np.zeros((1, 1, 3), np.uint8))
    yield "one row", encode_png(np.zeros((1, 3000, 3), np.uint8))
    for damaged in range(5):
        bytes_ = bytearray(jpeg)
        for place in np.random.default_rng(damaged).integers(20, len(jpeg), 30):
            bytes_[place] ^= 0x55
        yield f"jpeg with wrong bytes {damaged}", bytes(bytes_)


NAMES = (
    "../../x.png",
    "..\\..\\x.png",
    "/etc/cron.d/x",
    "x\0.png",
    "a" * 300,
    "",
    ".",
    "..",
    "CON",
    "x;rm -rf $HOME",
    "%2e%2e%2fx",
    "é\u202egnp.exe",
)


def form_of(parts: list[bytes], boundary: str = "b") -> dict:
    line = b"--" + boundary.encode() + b"\r\n"
    body = b"".join(line + part + b"\r\n" for part in parts) + b"--" + boundary.encode() + b"--\r\n"
    return {"content": body, "headers": {"content-type": f"multipart/form-data; boundary={boundary}"}}


def requests() -> Iterator[tuple[str, dict]]:
    """Whole requests to an address that wants a picture; what ``httpx`` calls them."""
    good = picture()
    head = b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    as_json = {"content-type": "application/json"}
    for name in NAMES:
        disposition = f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
        yield f"file name {name[:20]!r}", form_of([disposition + good])
    yield "no boundary", {"content": good, "headers": {"content-type": "multipart/form-data"}}
    yield "boundary of nothing", {"content": good, "headers": {"content-type": "multipart/form-data; boundary="}}
    yield "long boundary", form_of([head + good], "b" * 5000)
    yield (
        "wrong boundary",
        {"content": form_of([head + good])["content"], "headers": {"content-type": "multipart/form-data; boundary=c"}},
    )
    yield (
        "no end",
        {"content": form_of([head + good])["content"][:-6], "headers": {"content-type": "multipart/form-data; boundary=b"}},
    )
    yield "twice", form_of([head + good, head + good])
    yield "hundreds of parts", form_of([head.replace(b"image", b"p%d" % number) for number in range(900)])
    yield "hundreds of headers", form_of([b"X: y\r\n" * 2000 + head + good])
    yield "a header without end", form_of([b"X: " + b"y" * 500_000])
    yield (
        "parts in parts",
        form_of([b"Content-Type: multipart/mixed; boundary=c\r\n" + head + form_of([head + good], "c")["content"]]),
    )
    yield (
        "an address as a field",
        form_of([head + good, b'Content-Disposition: form-data; name="image"\r\n\r\nhttp://127.0.0.1:9/x']),
    )
    yield "an address", form_of([b'Content-Disposition: form-data; name="image"\r\n\r\nhttp://169.254.169.254/latest/meta-data'])
    yield "a long model", form_of([head + good, b'Content-Disposition: form-data; name="model"\r\n\r\n' + b"x" * 100_000])
    yield "a path for a model", form_of([head + good, b'Content-Disposition: form-data; name="model"\r\n\r\n../../../etc/passwd'])
    yield "null in a model", form_of([head + good, b'Content-Disposition: form-data; name="model"\r\n\r\na\0b'])
    yield "fields of the inside", form_of([head + good, b'Content-Disposition: form-data; name="ctx"\r\n\r\n{}'])
    yield "pickle", {"content": b"\x80\x05N.", "headers": {"content-type": "application/vnd.bentoml+pickle"}}
    yield "arrow", {"content": b"x", "headers": {"content-type": "application/vnd.apache.arrow.stream"}}
    yield (
        "urlencoded",
        {"content": b"image=http://127.0.0.1:9/", "headers": {"content-type": "application/x-www-form-urlencoded"}},
    )
    yield "plain", {"content": good, "headers": {"content-type": "image/png"}}
    yield "gzip", {"content": good, "headers": {"content-type": "image/png", "content-encoding": "gzip"}}
    yield "deep json", {"content": b'{"a":' * 100_000, "headers": as_json}
    yield "deep list", {"content": b"[" * 500_000 + b"]" * 500_000, "headers": as_json}
    yield "a huge number", {"content": b'{"image": ' + b"9" * 500_000 + b"}", "headers": as_json}
    yield "a huge exponent", {"content": b'{"image": "eHg=", "members": 1e999999}', "headers": as_json}
    yield "many fields", {"content": json.dumps({f"k{number}": 1 for number in range(50_000)}).encode(), "headers": as_json}
    yield "twice in json", {"content": b'{"image": "eHg=", "image": "http://127.0.0.1:9/"}', "headers": as_json}
    yield "surrogates", {"content": b'{"image": "\\ud800"}', "headers": as_json}
    yield "not utf-8", {"content": b'{"image": "\xff"}', "headers": as_json}
    yield "utf-16", {"content": '{"image": "eHg="}'.encode("utf-16"), "headers": as_json}
    for text in (
        "=",
        "A",
        "AAA",
        "A===",
        "AA=A",
        "____",
        "!!!!",
        "AAAA\0",
        "ÄÄÄÄ",
        " ",
        "data:",
        "data:,x",
        "data:text/html;base64,",
        "file:///etc/passwd",
    ):
        yield f"base64 {text!r}", {"json": {"image": text}}
