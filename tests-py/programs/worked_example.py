"""The worked example of docs/format.md: the reader of tests-py/reader and h5py read a container with the page's
bytes, and the numbers, times and texts beside the bytes agree with them. The bytes that the page leaves out are
those of a kept sample."""
# only: h5lake

import re
import struct
from datetime import datetime, timedelta
from pathlib import Path

import h5py
import independent_reader as reader
import numpy as np
from cases import main  # noqa: F401

PAGE = Path(__file__).resolve().parents[2] / "docs/format.md"
LINE = re.compile(r"^([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:   ? *(.*))?$")
BASE = "**The same version as a base.**"
HOLDS = {"/": {"attributes": {}, "links": {"x": ("hard",)}},
         "/x/": {"attributes": {"unit": b"mm"}, "shape": (3,), "value": [1, 2, 3]}}


def lines_of(text):
    """Returns (address, bytes, text of the page) of every line with bytes. Other lines of the blocks are blank or
    leave bytes out."""
    found = []
    for block in re.findall(r"```text\n(.*?)```", text, re.S):
        for line in block.splitlines():
            parts = LINE.match(line)
            if parts is None:
                assert line.strip() in ("", "…"), f"not understood: {line!r}"
                continue
            found.append((int(parts[1], 16), bytes.fromhex(parts[2]), parts[3] or ""))
    return found


def dumps():
    """Returns the lines of the file after the close, and after the vacuum."""
    text = PAGE.read_text().split("## Worked example", 1)[1].split("\n## ")[0]
    assert text.count(BASE) == 1
    closed, vacuumed = map(lines_of, text.split(BASE))
    assert len(closed) >= 100 and len(vacuumed) >= 15, (len(closed), len(vacuumed))
    return {"worked-example": closed, "worked-example-vacuumed": vacuumed}


def overlaid(sample, lines):
    """Returns the sample's bytes with those of the page over them, and without copies of slots, so that no copy can
    replace a wrong slot."""
    made = bytearray(sample)
    for copy in 768, 4352:
        made[copy:copy + 256] = bytes(256)
    for address, bytes_, _ in lines:
        assert address + len(bytes_) <= len(made), f"{address:04x} is behind the end"
        made[address:address + len(bytes_)] = bytes_
    return bytes(made)


def is_read(folder, name, at_least, head):
    if "store=" in reader.CONNECTOR:  # plain names are then names in that store
        return
    lines = dumps()[name]
    sample = (reader.READER / "samples" / name / "x.h5").read_bytes()
    shown = set()
    for address, bytes_, _ in lines:
        here = set(range(address, address + len(bytes_)))
        assert not here & shown, f"{address:04x} is there twice"
        shown |= here
    assert len(shown) >= at_least, f"the page shows {len(shown)} bytes"
    made = folder / "example.h5"
    made.write_bytes(overlaid(sample, lines))
    found = reader.compared.Container(made).ledger
    assert (found.sequence, found.version, found.base) == head, (found.sequence, found.version, found.base)
    reader.compared.agree(reader.compared.by_reader(made), HOLDS)
    with h5py.File(made, "r") as f:
        reader.compared.agree(reader.compared.by_h5py(f), HOLDS)
    # The sample is the file from which the page was made.
    wrong = [f"{address:04x}" for address, bytes_, _ in lines if sample[address:address + len(bytes_)] != bytes_]
    assert not wrong, f"not the sample's bytes: {wrong}"


@reader.local
def check_the_closed_file(folder):
    is_read(folder, "worked-example", 64 + 152 + 431 - 150, (2, 2, 0))


@reader.local
def check_the_vacuumed_file(folder):
    is_read(folder, "worked-example-vacuumed", 90, (3, 2, 2))


def varint(data):
    """Returns all of the bytes as one varint, or None."""
    if not data or data[-1] > 127 or any(byte < 128 for byte in data[:-1]):
        return None
    return sum((byte & 127) << 7 * n for n, byte in enumerate(data))


def meanings(data):
    """Returns the numbers that the bytes may encode: alone, after a field's number or an entry's kind, or at the
    end."""
    found = {varint(data), varint(data[1:]), varint(data[2:]), *data, data[0] >> 4, data[0] & 15}
    if len(data) in (2, 4, 8):
        found.add(int.from_bytes(data, "little"))
    return found | {int.from_bytes(data[-8:], "big")}


def said(text):
    """Returns the numbers in the page's text of a line. A sum counts as its result."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    plain = re.sub(r"(\d+) \+ (\d+)", lambda sum_: str(int(sum_[1]) + int(sum_[2])), plain)
    return [int(number, 16 if number.startswith("0x") else 10) for number in re.findall(r"(?<![\w.-])0x[0-9a-f]+|(?<![\w.-])\d+(?![\w.])", plain)]


def complaint(data, text):
    """Returns the difference between a line's bytes and its text, or None."""
    quoted = re.findall(r'"([^"]*)"', text)
    missing = [part for part in quoted if part.encode() not in data]
    if missing:
        return f"no {missing}"
    text = re.sub(r'"[^"]*"', "", text)
    if clock := re.search(r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d{6}", text):
        time = datetime(1970, 1, 1) + timedelta(microseconds=struct.unpack("<Q", data)[0])
        return None if str(time).endswith(clock[0]) else f"the time is {time}"
    if field := re.match(r"\((\d+)\) ", text):
        if varint(data[:1]) is None or data[0] >> 3 != int(field[1]):
            return f"field {data[0] >> 3}"
        text = text[field.end():]
    if bit := re.search(r"\bbit (\d+)", text):
        return None if data == struct.pack("<I", 1 << int(bit[1])) else "another bit"
    if text.startswith("checksum"):  # both readers verify them
        return None
    if values := re.fullmatch(r"(\d+(?:, \d+)+)", text):
        found = np.frombuffer(data, "<i2").tolist()
        return None if found == said(values[1].replace(", ", " ")) else f"the values are {found}"
    if re.match(r"no (root|free|history|record)", text):
        return None if not any(data) else "it is not zero"
    unsaid = [number for number in said(text) if number not in meanings(data)]
    return f"no {unsaid}" if unsaid else None


def check_what_the_page_says(folder):
    lines = [line for lines in dumps().values() for line in lines]
    wrong = [f"{address:04x} {data.hex(' ')}: {text}: {why}" for address, data, text in lines if (why := complaint(data, text))]
    assert not wrong, "\n".join(wrong)
    compared = [text for _, _, text in lines if said(re.sub(r"^\(\d+\) ", "", text)) or '"' in text]
    assert len(compared) >= 60, len(compared)
    print(f"{len(lines)} lines of the worked example, {len(compared)} of them with numbers or texts")


if __name__ == "__main__":
    main(globals())
