"""`python -m benchmarks.decisions`: the measurements behind docs/decisions.md, of the kernels only.

Each line gives the stored size as a share of the raw size, and the decoding speed in GB/s of raw bytes or the time to
read a box: one thread, the best of several runs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from atlas import kernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODECS = {"none": 0, "zstd": 1, "lz4": 2}
FILTERS = {"plain": 0, "byte-shuffle": 1, "bit-shuffle": 2, "decimal": 3, "delta": 4, "decimaldelta": 5}


def measure(title: str, values: NDArray[np.generic], block: int, codec: str, filter_name: str) -> None:
    """Print stored share and decoding speed of `values` in blocks of `block` bytes."""
    raw = values.reshape(-1).view(np.uint8)
    start = np.arange(0, raw.size, block, dtype=np.int64)
    length = np.minimum(block, raw.size - start)
    stored, table = kernels.encode_blocks(
        raw, start, length, codec=CODECS[codec], filter=FILTERS[filter_name], itemsize=values.dtype.itemsize, level=1
    )
    out = np.empty(raw.size, np.uint8)
    best = float("inf")
    for _ in range(7):
        begin = time.perf_counter()
        kernels.decode_blocks(stored, table, out, start)
        best = min(best, time.perf_counter() - begin)
    assert (out == raw).all()
    print(f"{title:34} {codec:5} {filter_name:13} {stored.size / raw.size:6.3f} {raw.size / best / 1e9:7.2f} GB/s")


def measure_trial(source: np.random.Generator) -> None:
    """Print what each filter makes of measured values, and which the trial chooses for `filter="auto"`."""
    walks = (15 + source.normal(0, 0.2, (200, 50, 168)).cumsum(axis=-1)).round(2)
    hundredths = np.rint(100 * walks).astype("i2")
    minutes = source.integers(1, 4, (4000, 300)).cumsum(axis=1) * 60 * 10**9
    full = source.normal(280, 10, walks.shape)
    for title, values in (
        ("float32 walks, two decimals", walks.astype("f4")),
        ("float64 walks, two decimals", walks),
        ("float32 walks, unpacked int16", hundredths * np.float32(0.01) + np.float32(5)),
        ("float32, two decimals, no walk", full.round(2).astype("f4")),
        ("float32, all digits", full.astype("f4")),
        ("int16 walks", hundredths),
        ("int64 times, uneven minutes", minutes),
    ):
        numbers = (1, 2, 4) if values.dtype.kind == "i" else (1, 2, 3, 5)
        for name, number in FILTERS.items():
            if number in numbers:
                measure(title, values, 128 << 10, "zstd", name)
        raw = values.reshape(-1).view(np.uint8)
        start = np.arange(0, raw.size, 128 << 10)
        length = np.minimum(128 << 10, raw.size - start)
        chosen = kernels.choose_filter(raw, start, length, codec=1, dtype=values.dtype, level=1)
        print(f"{title:34} zstd  chosen: {next(name for name, number in FILTERS.items() if number == chosen)}")


def measure_box(block: int) -> None:
    """Print stored share, and microseconds per chunk to read a box, for chunks cut into blocks of `block` bytes."""
    shape, chunks = (50, 50, 24), 60
    values = np.random.default_rng(2).random((chunks, *shape), np.float32)
    raw, cells = values.reshape(-1).view(np.uint8), values[0].size
    within = np.arange(0, 4 * cells, block, dtype=np.int64)
    start = (np.arange(chunks)[:, None] * 4 * cells + within).reshape(-1)
    length = np.minimum(block, 4 * cells - np.tile(within, chunks))
    stored, table = kernels.encode_blocks(raw, start, length, codec=1, filter=2, itemsize=4, level=1)
    box = tuple(n // 2 for n in shape)
    boxes = np.array([[shape], [(0, 0, 0)], [box], [(0, 0, 0)]], np.int64)
    geometry = kernels.Geometry(boxes, np.array(box, np.int64))
    last = np.ravel_multi_index([n - 1 for n in box], shape)
    wanted = np.flatnonzero(np.tile(within // 4 <= last, chunks))
    begin, chunk = np.tile(within // 4, chunks)[wanted], wanted // len(within)
    zeros = np.zeros(len(wanted), np.int64)
    pieces = np.array([wanted, zeros, begin, length[wanted] // 4, zeros, chunk])
    batch = np.array([wanted, table[kernels.BLOCK_OFFSET, wanted], np.arange(len(wanted))])
    batch = np.append(batch, [[0], [0], [len(wanted)]], axis=1)
    out = np.empty((chunks, *box), np.float32)
    best = float("inf")
    for _ in range(15):
        before = time.perf_counter()
        kernels.gather_boxes(stored, table, batch, 0, len(wanted), pieces, geometry, out)
        best = min(best, time.perf_counter() - before)
    assert (out == values[:, : box[0], : box[1], : box[2]]).all()
    title = f"box of (50, 50, 24), {block >> 10} KiB"
    print(f"{title:34} zstd  bit-shuffle   {stored.size / raw.size:6.4f} {best / chunks * 1e6:7.1f} us a chunk")


def measure_transposes() -> None:
    """Print encoding and decoding of smooth integers, whose planes all compress, for each filter and item size.

    The codec is LZ4: it takes the least time, and so shows the most of the filters'.
    """
    steps = np.random.default_rng(3).integers(-3, 4, 500_000).cumsum()
    for itemsize in (2, 4, 8):
        raw = steps.astype(f"i{itemsize}").view(np.uint8)
        start = np.arange(0, raw.size, 128 << 10, dtype=np.int64)
        length = np.minimum(128 << 10, raw.size - start)
        out = np.empty(raw.size, np.uint8)
        for name in ("byte-shuffle", "bit-shuffle"):
            encode = decode = float("inf")
            for _ in range(40):
                begin = time.perf_counter()
                stored, table = kernels.encode_blocks(
                    raw, start, length, codec=CODECS["lz4"], filter=FILTERS[name], itemsize=itemsize, level=1
                )
                middle = time.perf_counter()
                kernels.decode_blocks(stored, table, out, start)
                encode, decode = min(encode, middle - begin), min(decode, time.perf_counter() - middle)
            assert (out == raw).all()
            title, size = f"smooth int{8 * itemsize}, 128 KiB, encode, decode", raw.size / 1e9
            print(f"{title:34} lz4   {name:13} {size / encode:7.2f} {size / decode:7.2f} GB/s")


def main() -> None:
    source = np.random.default_rng(1)
    # Temperatures to a hundredth of a degree, as instruments write them.
    profiles = (15 + source.standard_normal((20_000, 20)).cumsum(axis=1)).round(2).astype("f4")
    for size, title in ((80, "80 B, a frame each"), (64 << 10, "64 KiB"), (128 << 10, "128 KiB"), (1 << 20, "1 MiB")):
        measure(f"profiles of 80 B, {title}", profiles, size, "zstd", "byte-shuffle" if size > 80 else "plain")
    noise = source.standard_normal(60_000 * 16).astype("f4")
    packed = (np.sin(np.arange(120_000 * 16) / 500) * 8000 + source.normal(0, 30, 120_000 * 16)).astype("i2")
    rounded = (source.standard_normal(60_000 * 16) * 10).round(2).astype("f4")
    for title, values in (("float32 noise", noise), ("int16, packed", packed), ("float32, two decimals", rounded)):
        for filter_name in ("plain", "byte-shuffle", "bit-shuffle"):
            measure(f"{title}, 240 KB", values, 240_000, "zstd", filter_name)
    for block in (256, 128, 64, 32, 16):
        measure_box(block << 10)
    measure_transposes()
    measure_trial(source)


if __name__ == "__main__":
    main()
