"""Parsers fed by a fuzzer that sees what they cover: every input is parsed or refused by an `AtlasError`.

In full atheris feeds each parser for five minutes, beginning with what sound stores hold; a quick run replays that,
with a few mutations of each. The parsers are those of documents, attribute values, indexes, footers and blocks.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import msgpack

from tests.reliability.hostile.damaging import damaged
from tests.reliability.hostile.parsers import PARSERS
from tests.reliability.hostile.stores import STORES, sound

__all__ = ["replay", "run", "seeds"]

SECONDS = 300
"""Time that each parser is fed in full."""
_MUTATIONS = 5


def run(full: bool) -> dict[str, int]:
    """Feed all parsers; return how many inputs each took."""
    if not full:
        return {f"inputs of {name}": replay(name) for name in PARSERS} | {"uncaught": 0}
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        fed = dict(zip(PARSERS, pool.map(_fuzz, PARSERS), strict=True))
    figures = {f"inputs of {name} in {SECONDS} seconds": count for name, count in fed.items()}
    return {"inputs": sum(fed.values()), **figures, "uncaught": 0}


def _fuzz(name: str) -> int:
    with tempfile.TemporaryDirectory(prefix=f"atlas-fuzz-{name}-") as folder:
        corpus = Path(folder) / "seeds"
        corpus.mkdir()
        (Path(folder) / "found").mkdir()
        for number, seed in enumerate(seeds(name)):
            (corpus / f"{number}").write_bytes(seed)
        command = [sys.executable, "-m", "tests.reliability.hostile.fuzzing", name, str(SECONDS), folder]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
        crashed = [f"{path.name}: {path.read_bytes()!r}" for path in Path(folder).iterdir() if path.is_file()]
        assert done.returncode == 0, f"{name}: {crashed}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    told = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    assert told is not None, done.stderr[-3000:]
    return int(told.group(1))


def replay(name: str) -> int:
    """Feed a parser its seeds and a few mutations of each, always the same; return how many inputs that were."""
    count = 0
    for number, seed in enumerate(seeds(name)):
        random = Random(f"{name}:{number}")
        PARSERS[name](seed)
        for _ in range(_MUTATIONS):
            changed = seed
            for _ in range(random.choice([1, 1, 2, 4])):
                changed = damaged(changed, random)[0] or seed
            PARSERS[name](changed)
        count += 1 + _MUTATIONS
    return count


def seeds(name: str) -> list[bytes]:
    """Return inputs of a parser that it takes, from the sound stores."""
    made = {
        "documents": _document_seeds,
        "values": _value_seeds,
        "indexes": _index_seeds,
        "footers": _footer_seeds,
        "blocks": _block_seeds,
    }[name]
    return list(dict.fromkeys(seed for store in STORES for seed in made(store)))


def _document_seeds(store: str) -> list[bytes]:
    found = []
    for tree in _with_rows(store)[:6]:
        found.append(b"\x01" + json.dumps(tree, separators=(",", ":")).encode()[1:])
        packed = msgpack.packb(tree)
        header = {0xDE: 3, 0xDF: 5}.get(packed[0], 1)
        found.append(b"\x00" + struct.pack(">H", len(tree) + 1) + packed[header:])
    return found


def _with_rows(store: str) -> list[dict[str, Any]]:
    return [tree for tree in sound(store).trees.values() if "rows" in tree]


def _value_seeds(store: str) -> list[bytes]:
    values = [value for tree in _with_rows(store) for value in tree["rows"]["value_table"]]
    return [b"\x01" + json.dumps(value).encode() for value in values] + [b"\x00" + msgpack.packb(v) for v in values]


def _index_seeds(store: str) -> list[bytes]:
    found = []
    for key in sound(store).segments[:8]:
        segment = sound(store).segment(key)
        found += [
            struct.pack("<HH", segment.chunks, segment.blocks) + segment.index(Random(number)) for number in range(3)
        ]
    return found


def _footer_seeds(store: str) -> list[bytes]:
    files = [sound(store).files[key] for key in sound(store).segments]
    return [struct.pack("<Q", len(data)) + data[-64:] for data in files]


def _block_seeds(store: str) -> list[bytes]:
    found = []
    for key in sound(store).segments[:8]:
        segment = sound(store).segment(key)
        for block in range(min(segment.blocks, 4)):
            get = {name: int(values[block]) for name, values in segment.columns.items() if name.startswith("block_")}
            if get["block_raw"] < 1 << 16 and get["block_stored"] < 20_000:
                kind = get["block_codec"], get["block_filter"], get["block_itemsize"]
                head = struct.pack("<BBBBH", *kind, 3, get["block_raw"])
                found.append(head + bytes(segment.body[segment.stored(block)]))
    return found
