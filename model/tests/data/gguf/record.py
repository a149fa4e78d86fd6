"""Records blocks.json: random blocks of each format and what `gguf` 0.19 widens them to.

    pip install gguf==0.19.0 && python record.py
"""

import json
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

VALUES = 1024
# Where the halves of a block are; the rest may be any bits.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}


def random_blocks(name: str, random: np.random.Generator) -> np.ndarray:
    length, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = random.integers(0, 256, (VALUES // length, size), dtype=np.uint8)
    for at in HALVES[name]:
        # Finite: an exponent of all ones would make NaN, whose bits mean nothing.
        high = blocks[:, at + 1]
        blocks[:, at + 1] = np.where(high & 0x7C == 0x7C, high ^ 0x40, high)
    # One block with subnormal scales.
    for at in HALVES[name]:
        blocks[0, at + 1] &= 0x83
    return blocks


def main():
    random = np.random.default_rng(2)
    recorded = {}
    for name in HALVES:
        blocks = random_blocks(name, random)
        values = dequantize(blocks.reshape(1, -1), GGMLQuantizationType[name]).astype("<f4")
        assert values.size == VALUES and np.isfinite(values).all()
        recorded[name] = {"blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()}
    path = Path(__file__).parent / "blocks.json"
    path.write_text(json.dumps(recorded, indent=1) + "\n")


main()
