"""JSON files that diff well: one list item a line, ASCII only so that invisible characters are seen."""

import json
import struct
from pathlib import Path


def compact(value) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def write_lines(path: Path, items: list) -> None:
    """A list, one item per line."""
    write_text(path, "[\n" + ",\n".join(compact(item) for item in items) + "\n]\n")


def write_pretty(path: Path, value) -> None:
    write_text(path, json.dumps(value, ensure_ascii=True, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def as_f32(value: float) -> float:
    """The shortest decimal that reads back as this very f32: nine digits at most instead of seventeen."""
    exact = struct.unpack("<f", struct.pack("<f", value))[0]
    for digits in range(1, 10):
        short = float(f"{exact:.{digits}g}")
        if struct.unpack("<f", struct.pack("<f", short))[0] == exact:
            return short
    return exact
