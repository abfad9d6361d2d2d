#!/usr/bin/env python3
"""Reads a .skive file as docs/format.md specifies it, with Python's standard library alone, and verifies all of it.

    python3 read_skive.py FILE.skive

prints one JSON document: the configuration, the provenance, and of each section its name, type, shape, stored checksum, the SHA-256
of its bytes, and for tensors the first and last value and the sum. A damaged file ends in one line and exit code 1.
"""

import array
import hashlib
import json
import math
import struct
import sys

MAGIC = b"\x89SKIVE\r\n"
END = b"SKIVEEND"
VERSION = 1
SIZES = {"raw": 1, "f32": 4, "f16": 2, "bf16": 2, "i8": 1}
MAX_DEPTH = 32


class Damaged(Exception):
    pass


def require(condition, message):
    if not condition:
        raise Damaged(message)


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Msgpack:
    """Decodes one msgpack value."""

    def __init__(self, data):
        self.data, self.pos = data, 0

    def take(self, n):
        require(n <= len(self.data) - self.pos, "header: msgpack: truncated")
        self.pos += n
        return self.data[self.pos - n:self.pos]

    def number(self, code):
        return struct.unpack(">" + code, self.take(struct.calcsize(code)))[0]

    def string(self, n):
        return bytes(self.take(n)).decode("utf-8")

    def array(self, n, depth):
        require(depth <= MAX_DEPTH, "header: msgpack: nested too deep")
        return [self.value(depth) for _ in range(n)]

    def map(self, n, depth):
        require(depth <= MAX_DEPTH, "header: msgpack: nested too deep")
        return {self.value(depth): self.value(depth) for _ in range(n)}

    def extension(self, n):
        kind, data = self.number("b"), bytes(self.take(n))
        require(kind == -1 and n in (4, 8, 12), "header: msgpack: extension that is no timestamp")
        if n == 4:
            return float(struct.unpack(">I", data)[0])
        if n == 8:
            both = struct.unpack(">Q", data)[0]
            return (both & (1 << 34) - 1) + (both >> 34) / 1e9
        nanoseconds, seconds = struct.unpack(">Iq", data)
        return seconds + nanoseconds / 1e9

    def value(self, depth=0):
        c = self.number("B")
        if c <= 0x7F:
            return c
        if c >= 0xE0:
            return c - 0x100
        if c <= 0x8F:
            return self.map(c & 0x0F, depth + 1)
        if c <= 0x9F:
            return self.array(c & 0x0F, depth + 1)
        if c <= 0xBF:
            return self.string(c & 0x1F)
        if c in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[c]
        if 0xC4 <= c <= 0xC6:
            return bytes(self.take(self.number("BHI"[c - 0xC4])))
        if 0xC7 <= c <= 0xC9:
            return self.extension(self.number("BHI"[c - 0xC7]))
        if 0xCA <= c <= 0xD3:
            return self.number("fdBHIQbhiq"[c - 0xCA])
        if 0xD4 <= c <= 0xD8:
            return self.extension(1 << c - 0xD4)
        if 0xD9 <= c <= 0xDB:
            return self.string(self.number("BHI"[c - 0xD9]))
        if c in (0xDC, 0xDD):
            return self.array(self.number("HI"[c - 0xDC]), depth + 1)
        if c in (0xDE, 0xDF):
            return self.map(self.number("HI"[c - 0xDE]), depth + 1)
        raise Damaged(f"header: msgpack: byte {c:#x} begins no value")


def padded(n):
    return n + -n % 64


def read(data):
    """Returns the header's meta and the sections, each with its bytes and its stored checksum."""
    require(data[:8] == MAGIC, "not a Skive file: wrong first bytes")
    require(len(data) >= 64, "truncated")
    kind = bytes(data[8:12])
    version, size, header_size, count = struct.unpack_from("<IQQI", data, 12)
    require(version <= VERSION, f"format version {version}, this reader knows up to version {VERSION}")
    require(version == VERSION, f"preamble: version {version}")
    require(crc32c(data[:60]) == struct.unpack_from("<I", data, 60)[0], "preamble: wrong checksum")
    require(not any(data[36:60]), "preamble: reserved bytes are not zero")
    require(kind in (b"MODL", b"TRST"), "preamble: unknown kind")
    require(size == len(data), f"{len(data)} bytes, written were {size}")
    trailer_size = 4 * (1 + count) + 20
    require(64 + padded(header_size) + trailer_size <= size, "preamble: header and trailer do not fit the file")
    trailer = data[size - trailer_size:]
    require(crc32c(trailer[:-4]) == struct.unpack_from("<I", trailer, trailer_size - 4)[0], "trailer: wrong checksum")
    require(struct.unpack_from("<Q", trailer, trailer_size - 20)[0] == size, "trailer: wrong size")
    require(trailer[-12:-4] == END, "trailer: wrong end mark")
    sums = struct.unpack_from(f"<{1 + count}I", trailer)

    require(crc32c(data[64:64 + padded(header_size)]) == sums[0], "header: wrong checksum")
    decoder = Msgpack(data[64:64 + header_size])
    header = decoder.value()
    require(decoder.pos == header_size, "header: bytes after its end")
    require(len(header["sections"]) == count, "header: number of sections")
    sections, pos = [], 64 + padded(header_size)
    for (name, dtype, shape), stored in zip(header["sections"], sums[1:]):
        require(dtype in SIZES and all(n >= 0 for n in shape), f"section {name}: unknown type or impossible shape")
        n = math.prod(shape) * SIZES[dtype]
        require(padded(n) <= size - trailer_size - pos, f"section {name}: reaches beyond the end of the file")
        require(crc32c(data[pos:pos + padded(n)]) == stored, f"section {name}: wrong checksum")
        sections.append({"name": name, "type": dtype, "shape": shape, "crc32c": stored, "data": data[pos:pos + n]})
        pos += padded(n)
    require(pos == size - trailer_size, "bytes between the last section and the trailer")
    return kind.decode(), header["meta"], sections


def values(section):
    """Returns the numbers of a tensor."""
    data, dtype = bytes(section["data"]), section["type"]
    if dtype == "bf16":
        data = b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))
    if dtype == "f16":
        return [v for (v,) in struct.iter_unpack("<e", data)]
    numbers = array.array("b" if dtype == "i8" else "f")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def weights(sections):
    """Returns the numbers of every tensor, int8 ones times the scales of their rows."""
    tensors = {s["name"]: s for s in sections if s["type"] != "raw"}
    out = {}
    for name, section in tensors.items():
        v = values(section)
        if section["type"] == "i8":
            scales, columns = values(tensors[name + "_scale"]), section["shape"][1]
            v = [q * scales[i // columns] for i, q in enumerate(v)]
        out[name] = v
    return out


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: read_skive.py FILE")
    with open(sys.argv[1], "rb") as f:
        data = memoryview(f.read())
    try:
        kind, meta, sections = read(data)
    except (Damaged, UnicodeDecodeError, KeyError, TypeError, ValueError) as e:
        sys.exit(f"read_skive.py: {sys.argv[1]}: {e}")
    numbers = weights(sections)
    document = {"kind": kind, "sections": []}
    if kind == "MODL":
        document["config"] = json.loads(meta["config"])
        document["provenance"] = meta["provenance"]
    for section in sections:
        entry = {k: section[k] for k in ("name", "type", "shape", "crc32c")}
        entry["sha256"] = hashlib.sha256(section["data"]).hexdigest()
        if v := numbers.get(section["name"]):
            entry.update(first=v[0], last=v[-1], sum=math.fsum(v))
        document["sections"].append(entry)
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
