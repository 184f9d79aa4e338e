"""Stores as an enemy would make them: any field of any document or table says anything, and every checksum fits.

So what stands behind the checksums is reached. Generic over documents: whatever fields a format has are forged.
"""

from __future__ import annotations

import copy
import struct
from typing import TYPE_CHECKING, Any

import lz4.block
import numpy as np
import zstandard

from atlas.format.attribute_keys import may_be_of_array
from atlas.format.block_types import FILTERS
from atlas.format.dataset_columns import ints_from_json
from tests.reliability.hostile import documents
from tests.reliability.hostile.damaging import Mutant
from tests.reliability.hostile.segments import COLUMNS, ENTRY, OF_OTHER_LENGTHS, named_anew
from tests.reliability.hostile.values import KEYS, LENGTHS, TEXTS, WHOLE, tagged_value, value_of_any_kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.reliability.hostile.segments import Segment
    from tests.reliability.hostile.stores import Sound

__all__ = ["FORGERIES", "forge_digests"]


def _nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Return every place in a tree: its container, and its key or position there."""
    found = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        places = list(node.items() if isinstance(node, dict) else enumerate(node))
        for at, value in places:
            found.append((node, at))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found


def _forge_field(tree: dict[str, Any], random: Random) -> str:
    """Change one field of a document, by weight of kinds, not of their number: a document has few heads."""
    nodes = _nodes(tree)
    if random.random() < 0.3:
        nodes = [(tree, key) for key in tree]
    elif random.random() < 0.3:
        scalars = [(node, at) for node, at in nodes if isinstance(node[at], int) and not isinstance(node[at], bool)]
        nodes = scalars or nodes
    node, at = random.choice(nodes)
    old = node[at]
    match random.randrange(10):
        case 0:
            del node[at]
            return f"{at!r} removed"
        case 1 if isinstance(node, list):
            node[at:at] = [copy.deepcopy(old)] * random.choice([1, 1, 2, 100])
            return f"entry {at} repeated"
        case 1:
            node[random.choice(KEYS)] = node.pop(at)
            return f"{at!r} renamed"
        case 2:
            other, there = random.choice(nodes)
            node[at], other[there] = copy.deepcopy(other[there]), copy.deepcopy(old)
            return f"{at!r} and {there!r} swapped"
        case 3 | 4 if isinstance(old, int):
            node[at] = random.choice([old + 1, old - 1, -old, old * 2, old << 32, old ^ (1 << random.randrange(63))])
        case 3 if isinstance(old, list) and len(old) > 1:
            random.shuffle(old)
            return f"{at!r} shuffled"
        case 4 if isinstance(old, str) and old:
            cut = random.randrange(len(old))
            node[at] = random.choice(
                [old[:cut], old[cut:], old + "/..", "../" + old, old.replace("/", "//"), old.upper()]
            )
        case _:
            node[at] = value_of_any_kind(random, [container[place] for container, place in nodes])
    return f"{at!r} from {old!r:.60} to {node.get(at) if isinstance(node, dict) else node[at]!r:.60}"


def forge_document(sound: Sound, random: Random) -> Mutant:
    """Let some fields of documents say something else."""
    files, notes = dict(sound.files), []
    for _ in range(random.choice([1, 1, 1, 1, 2])):
        key = random.choice(sorted(sound.trees))
        tree = copy.deepcopy(sound.trees[key])
        notes += [f"{key}: {_forge_field(tree, random)}" for _ in range(random.choice([1, 1, 1, 2, 4])) if tree]
        try:
            files[key] = documents.encode(key, tree)
        except documents.UNWRITABLE as error:
            notes.append(f"not written: {error}")
    return Mutant("documents forged", files, "; ".join(notes), signed=True)


def forge_schema(sound: Sound, random: Random) -> Mutant:
    """Let an array be of another shape, chunk shape, dtype or fill, mostly such as there may be."""
    key = random.choice([key for key, tree in sound.trees.items() if tree.get("rows", {}).get("schema_table")])
    tree = copy.deepcopy(sound.trees[key])
    schemas = tree["rows"]["schema_table"]
    schema = random.choice(schemas)
    for _ in range(random.choice([1, 1, 2, 3])):
        match random.randrange(6):
            case 0 | 1 if schema["shape"]:
                field = random.choice(["shape", "chunk_shape"])
                lengths = list(schema[field])
                for _ in range(random.choice([1, 1, 2])):
                    at = random.randrange(len(lengths))
                    lengths[at] = random.choice([*LENGTHS, lengths[at] + 1, lengths[at] * 2, max(lengths[at] - 1, 0)])
                schema[field] = lengths
            case 2:
                count = random.choice([0, 1, 2, 3, 5, 20, 32, 33, 63, 64, 65, 200])
                schema["dims"] = [random.choice(["x", "y", f"d{at}", f"d{at}"]) for at in range(count)]
                schema["shape"] = [random.choice([1, 1, 1, 2, 0, *LENGTHS[:6]]) for _ in range(count)]
                schema["chunk_shape"] = [random.choice([1, 1, max(length, 1)]) for length in schema["shape"]]
            case 3:
                schema["dtype"] = random.choice(schemas)["dtype"]
                schema.pop("fill", None)
            case 4:
                fill = value_of_any_kind(random, [None])
                schema["fill"] = random.choice(
                    [0, 1, True, False, -(2**63), "", "x" * 1000, {"float64": "7ff8000000000000"}, fill]
                )
            case _:
                schema["chunk_shape"] = [random.choice([1, 2, 7, 2**40, 2**62, 2**63 - 1]) for _ in schema["shape"]]
    return _written(sound, key, tree, "schemas forged", f"{schema!r:.300}")


def forge_attributes(sound: Sound, random: Random) -> Mutant:
    """Let attributes have other values and keys."""
    holders = [key for key, tree in sound.trees.items() if tree.get("rows", {}).get("value_table")]
    if not holders:
        return forge_schema(sound, random)
    key = random.choice(holders)
    tree = copy.deepcopy(sound.trees[key])
    values, keysets = tree["rows"]["value_table"], tree["rows"]["keyset_table"]
    for _ in range(random.choice([1, 1, 2, 5])):
        if random.random() < 0.3 and any(keysets):
            keyset = random.choice([at for at, keys in enumerate(keysets) if keys])
            name = random.choice(["_pyatlas_coords", "_atlas_dtype", "_FillValue", *TEXTS])
            hidden = ["time", random.choice(["_atlas_dtype", "_atlas_encoding"])]
            _forge_key(tree["rows"], keyset, random.choice([name, [name], ["t", name], hidden]), random)
        else:
            value = random.choice([tagged_value(random), value_of_any_kind(random, values)])
            values[random.randrange(len(values))] = value
    return _written(sound, key, tree, "attributes forged", str(values)[:300])


def _forge_key(rows: dict[str, Any], keyset: int, key: Any, random: Random) -> None:
    """Let a list of keys hold another one. Where that belongs to the other table of attributes, a value moves too."""
    keys = rows["keyset_table"][keyset]
    at = random.randrange(len(keys))
    old, keys[at] = _may_be_of_array(keys[at]), key
    new = _may_be_of_array(key)
    if old == new:
        return
    if "array_attribute_table" not in rows:
        rows["array_attribute_table"] = [[at] for at in range(len(rows["keyset_table"]))]
        own = ints_from_json(rows["attributes"], "attributes", len(rows["names"]), len(rows["attribute_table"]))
        rows["array_attributes"] = [rows["attribute_table"][at][0] for at in own.tolist()]
    tables = rows["attribute_table"], rows["array_attribute_table"]
    kinds = list(map(_may_be_of_array, keys[:at]))
    for found in tables[old]:
        if found[0] == keyset:
            del found[1 + kinds.count(old)]
    for found in tables[new]:
        if found[0] == keyset:
            found.insert(1 + kinds.count(new), random.randrange(len(rows["value_table"])))


def _may_be_of_array(key: Any) -> bool:
    return may_be_of_array(key if isinstance(key, str) else tuple(key))


def _written(sound: Sound, key: str, tree: dict[str, Any], kind: str, note: str) -> Mutant:
    files = dict(sound.files)
    try:
        files[key] = documents.encode(key, tree)
    except documents.UNWRITABLE as error:
        note += f", not written: {error}"
    return Mutant(kind, files, f"{key}: {note}", signed=True)


def _forge_cells(values: np.ndarray, random: Random) -> np.ndarray:
    """Return a column that says something else."""
    bits = 8 * values.dtype.itemsize
    fitting = np.array([number & ((1 << bits) - 1) for number in WHOLE], f"u{values.dtype.itemsize}").view(values.dtype)
    changed = values.copy()
    match random.randrange(8):
        case 0 | 1 | 2 if len(values):
            for _ in range(random.choice([1, 1, 1, 3])):
                changed[random.randrange(len(values))] = random.choice(fitting.tolist())
        case 3:
            changed[:] = random.choice(fitting.tolist())
        case 4 if len(values):
            at = random.randrange(len(values))
            changed[at] = changed[at] ^ changed.dtype.type(1 << random.randrange(bits - 1))
        case 5 if len(values):
            changed = changed[[random.randrange(len(values)) for _ in values]]
        case 6:
            changed = changed[::-1].copy()
        case _ if len(values):
            at = random.randrange(len(values))
            changed = np.concatenate([values[:at], values[at : at + 1], values[at:]])
    return changed


def forge_columns(sound: Sound, random: Random) -> Mutant:
    """Let cells of the tables of a segment say something else, or rows be more, fewer or in another order."""
    key = random.choice(sound.segments)
    segment = sound.segment(key)
    notes = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        if random.random() < 0.2:
            notes.append(_forge_rows(segment, random))
            continue
        name = random.choice(list(segment.columns))
        segment.columns[name] = _forge_cells(segment.columns[name], random)
        notes.append(f"{name} {segment.columns[name][:8].tolist()}")
    return _closed(sound, key, segment, "tables forged", f"{key}: {'; '.join(notes)}", segment.index(random))


def _forge_rows(segment: Segment, random: Random) -> str:
    """Repeat, drop or mix whole rows of one table."""
    blocks = random.random() < 0.5
    names = [name for name in segment.columns if name.startswith("block_") == blocks and name not in OF_OTHER_LENGTHS]
    size = min(len(segment.columns[name]) for name in names)
    rows = [random.randrange(size) for _ in range(random.choice([0, size, 2 * size]))] if size else []
    if random.random() < 0.5:
        rows.sort()
    for name in names:
        segment.columns[name] = segment.columns[name][rows] if rows else segment.columns[name][:0]
    return f"{'blocks' if blocks else 'chunks'} {rows[:8]}"


def _closed(
    sound: Sound, key: str, segment: Segment, kind: str, note: str, index: bytes, fields: dict[str, int] | None = None
) -> Mutant:
    files = dict(sound.files)
    files[key], says = segment.close(index, fields)
    named_anew(files, dict(sound.trees), key, says)
    return Mutant(kind, files, note, signed=True)


def forge_index(sound: Sound, random: Random) -> Mutant:
    """Let the directory of an index, its payloads or the footer say something else."""
    key = random.choice(sound.segments)
    segment = sound.segment(key)
    index = bytearray(segment.index(random))
    fields: dict[str, int] = {}
    note = ""
    for _ in range(random.choice([1, 1, 2])):
        match random.randrange(5):
            case 0 | 1:
                at = 8 + ENTRY.size * random.randrange(len(segment.columns)) + random.choice([16, 17, 24, 32, 40, 0])
                number = random.choice(WHOLE) & (2**64 - 1)
                size = 1 if at % ENTRY.size in ((8 + 16) % ENTRY.size, (8 + 17) % ENTRY.size) else 8
                index[at : at + size] = (random.randrange(7) if size == 1 else number).to_bytes(size, "little")
                note += f"directory at {at}: {number}; "
            case 2:
                for _ in range(random.choice([1, 3, 20])):
                    index[random.randrange(len(index))] = random.randrange(256)
                note += "bytes; "
            case 3:
                name = random.choice(["chunks", "blocks"])
                most = 64 * len(index)
                fields[name] = random.choice([0, 1, 2, most, most + 1, 10**6, 2**40, 2**63 - 1, 2**64 - 1])
                if fields[name] <= most and random.random() < 0.7:
                    shares = random.random() < 0.5
                    _make_constant(index, list(segment.columns), fields[name], blocks=name == "blocks", shares=shares)
                note += f"{name}: {fields[name]}; "
            case _:
                name = random.choice(["offset", "length", "checksum", "version", "zero"])
                fields[name] = random.choice(WHOLE) & (2**32 - 1 if name in {"version", "zero"} else 2**64 - 1)
                note += f"{name}: {fields[name]}; "
    return _closed(sound, key, segment, "indexes and footers forged", f"{key}: {note}", bytes(index), fields)


def _make_constant(index: bytearray, names: list[str], count: int, *, blocks: bool, shares: bool) -> None:
    """Make the columns of one table constant or sequences, of so many values.

    Where it `shares`, all chunks lie where the first block begins; else each is constant.
    """
    for number, name in enumerate(names):
        if name.startswith("block_") == blocks and name not in OF_OTHER_LENGTHS:
            at = 8 + ENTRY.size * number
            dtype = {"u1": 0, "i8": 1, "u8": 2}[COLUMNS[name]]
            width = 1 if dtype == 0 else 8
            sequence = name in {"chunk", "dataset"}
            entry = (name.encode(), dtype, 2 if sequence else 1, count, len(index), 16 if sequence else width)
            ENTRY.pack_into(index, at, *entry)
            start = {"block_offset": 16, "block_itemsize": 1, "block": 0 if blocks or shares else -1}.get(name, 0)
            index += start.to_bytes(width, "little", signed=start < 0)
            index += (1).to_bytes(8, "little") if sequence else b""


_ROWS = 20_000
"""Rows that share one chunk."""


def forge_digests(sound: Sound, random: Random) -> Mutant:
    """Let chunks share others than they do, by digests of other chunks, of none or of each other."""
    keys = [key for key in sound.segments if sound.segment(key).digests]
    files, trees, notes = dict(sound.files), dict(sound.trees), []
    segments = {key: sound.segment(key) for key in keys}
    changed = random.sample(keys, min(len(keys), random.choice([1, 1, 2, 3])))
    for key in changed:
        others = [other for other in keys if key.split("/")[1] == other.split("/")[1]]
        notes.append(f"{key}: {_forge_sharing(segments[key], [segments[other] for other in others], random)}")
    for key in keys:
        files[key], says = segments[key].close(_long_enough(segments[key], random))
        named_anew(files, trees, key, says)
    return Mutant("digests forged", files, "; ".join(notes), signed=True)


def _long_enough(segment: Segment, random: Random) -> bytes:
    """Return an index that may declare as many rows as it has."""
    index = segment.index(random)
    return index + bytes(max(0, -(-segment.chunks // 64) - len(index)))


def _forge_sharing(segment: Segment, others: list[Segment], random: Random) -> str:
    """Change what the rows of a segment share; `others` are segments of the same array, and maybe itself."""
    columns, digests = segment.columns, segment.digests
    rows, digest, block = range(segment.chunks), columns["digest"], columns["block"]
    stored = [row for row in rows if digest[row] >= 0 and block[row] >= 0]
    match random.randrange(9):
        case 0:
            size = random.choice([0, 1, 15, 17, 16 * len(digests) + 1, 16 * len(digests) - 16, 16 * len(rows) + 16])
            columns["digests"] = np.resize(columns["digests"], max(size, 0))
            return f"{size} bytes of digests"
        case 1:
            columns["digest"] = _forge_cells(digest, random)
            return f"digest {columns['digest'][:8].tolist()}"
        case 2:
            for row in random.sample(list(rows), min(len(rows), random.choice([1, 2, len(rows)]))):
                block[row] = -2
                digest[row] = random.choice([digest[row], digest[row], -1, 0, len(digests) - 1])
            return f"block {block[:8].tolist()}, digest {digest[:8].tolist()}"
        case 3:
            at = random.randrange(len(digests))
            columns["digests"][16 * at : 16 * at + 16] = list(random.randbytes(16))
            return f"digest {at} is of no chunk"
        case 4 | 5:
            # Chunks of another array, dtype, fill or size get the digest, or chunks that lie elsewhere.
            at, other = random.randrange(len(digests)), random.choice(others)
            taken = random.choice(other.digests)
            columns["digests"][16 * at : 16 * at + 16] = list(taken)
            return f"digest {at} is another's"
        case 6 if stored:
            # Each names the digest of a chunk that the other has no more.
            other = random.choice(others)
            for one in (segment, other):
                one.columns["block"][one.columns["digest"] >= 0] = -2
            return "all that have a digest share it"
        case 7 if stored:
            like = random.choice(stored)
            for name in ("block", "offset", "digest")[: random.choice([2, 3])]:
                columns[name][:] = columns[name][like]
            return f"all lie where row {like} does"
        case _:
            like = random.choice(rows)
            for name in [name for name in columns if not name.startswith("block_") and name not in OF_OTHER_LENGTHS]:
                columns[name] = np.repeat(columns[name][like], _ROWS)
            name = random.choice(["dataset", "chunk"])
            columns[name] = np.arange(_ROWS) + (columns[name][0] if random.random() < 0.5 else 0)
            if random.random() < 0.3:
                columns["block"][:] = -2
            return f"{_ROWS} rows as row {like} of one {'chunk' if name == 'dataset' else 'dataset'}"


def forge_block(sound: Sound, random: Random) -> Mutant:
    """Let the bytes of a block be others, with the checksum that fits them."""
    keys = [key for key in sound.segments if sound.segment(key).blocks]
    if not keys:
        return forge_columns(sound, random)
    key = random.choice(keys)
    segment = sound.segment(key)
    block = random.randrange(segment.blocks)
    get = {name: int(values[block]) for name, values in segment.columns.items() if name.startswith("block_")}
    stored = bytes(segment.body[segment.stored(block)])
    forged, note = _forge_stored(stored, get, random)
    segment.replace_block(block, forged)
    if random.random() < 0.2:
        name = random.choice(["block_raw", "block_codec", "block_filter", "block_itemsize"])
        segment.columns[name] = _forge_cells(segment.columns[name], random)
        note += f", {name}"
    return _closed(sound, key, segment, "blocks forged", f"{key}: block {block} {note}", segment.index(random))


def _forge_stored(stored: bytes, get: dict[str, int], random: Random) -> tuple[bytes, str]:
    changed = bytearray(stored)
    kind = random.randrange(6)
    integers = get["block_filter"] >= FILTERS["decimal"] and len(stored) >= _HEAD
    lead, planes = (_HEAD, sum(stored[:5]) - stored[1]) if integers else (0, get["block_itemsize"])
    if integers and random.random() < 0.5:
        return _forge_integers(changed, get, random), "head or exceptions"
    if kind == 0 and get["block_filter"] and planes and len(stored) >= lead + 4 * planes:
        for _ in range(random.choice([1, 2])):
            at = lead + 4 * random.randrange(planes)
            (length,) = struct.unpack_from("<I", changed, at)
            lie = random.choice([0, 1, length + 1, max(length - 1, 0), length * 2, get["block_raw"], 2**31, 2**32 - 1])
            struct.pack_into("<I", changed, at, lie % 2**32)
        return bytes(changed), "lengths of planes"
    if kind == 1:
        size = get["block_raw"]
        bomb = random.choice([size, size + 1, max(size - 1, 0), 2**20, 2**24])
        if random.random() < 0.5:
            return zstandard.ZstdCompressor(level=1).compress(bytes(bomb)), f"a frame of {bomb} zeros"
        return lz4.block.compress(bytes(bomb), store_size=False), f"lz4 of {bomb} zeros"
    if kind == 2:
        return random.randbytes(random.choice([0, 1, 5, len(stored), 3 * len(stored)])), "noise"
    if kind == 3 and stored:
        at = random.randrange(len(stored))
        return random.choice([stored[:at], stored + stored, stored[at:], stored[:at] + stored]), "moved"
    if kind == 4 and len(changed) >= 12:
        # The head of a frame: descriptor, window and content size.
        at = stored.find(b"\x28\xb5\x2f\xfd")
        for _ in range(random.choice([1, 2])):
            changed[(max(at, 0) + 4 + random.randrange(6)) % len(changed)] = random.randrange(256)
        return bytes(changed), "head of a frame"
    for _ in range(random.choice([1, 1, 2, 10])):
        if changed:
            changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed), "bytes"


_HEAD = 24
"""Bytes before the lengths of the planes of a block of integers."""


def _forge_integers(changed: bytearray, get: dict[str, int], random: Random) -> bytes:
    """Let the head of a block of integers, or the positions of its exceptions, say something else."""
    exceptions = int.from_bytes(changed[5:8], "little")
    positions = len(changed) - exceptions * (4 + get["block_itemsize"])
    for _ in range(random.choice([1, 1, 2, 3])):
        match random.randrange(3):
            case 0:
                changed[random.randrange(5)] = random.choice([0, 1, 2, 3, 4, 5, 8, 9, 22, 23, 255])
            case 1:
                begin, size = random.choice([(5, 3), (8, 8), (16, 8)])
                number = random.choice([*WHOLE, exceptions - 1, exceptions + 1, 8 * exceptions])
                changed[begin : begin + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
            case _ if exceptions and positions >= _HEAD:
                lie = random.choice([0, 1, get["block_raw"], random.randrange(get["block_raw"] + 1), 2**31, 2**32 - 1])
                struct.pack_into("<I", changed, positions + 4 * random.randrange(exceptions), lie % 2**32)
    return bytes(changed)


FORGERIES: dict[Callable[[Sound, Random], Mutant], int] = {
    forge_document: 10, forge_schema: 5, forge_attributes: 4, forge_columns: 7, forge_index: 2, forge_block: 5,
    forge_digests: 5,
}  # fmt: skip
"""Ways to forge a store, and how often each is taken."""
