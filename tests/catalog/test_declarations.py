from __future__ import annotations

from atlas.catalog.declarations import Declarations
from atlas.format.schema import make_schema

SCHEMA = make_schema("int8", ["x"], [1])


def test_equal_declarations_share_an_entry():
    declarations = Declarations()
    new, committed = (declarations.entry("t", SCHEMA, new=new) for new in (True, False))
    assert (new.generation, committed.generation) == (0, declarations.generation)
    assert declarations.entry("t", make_schema("int8", ["x"], [1]), new=False) is committed
    assert declarations.entry("u", SCHEMA, new=False) is not committed


def test_a_renewed_generation_replaces_the_one_before_only():
    declarations = Declarations()
    before = declarations.generation
    arrays = {name: declarations.entry(name, SCHEMA, new=new) for name, new in (("a", True), ("b", False))}
    declarations.renew()
    after = declarations.renewed(arrays, before)
    assert declarations.generation != before
    assert [entry.generation for entry in after.values()] == [0, declarations.generation]
    assert after["a"] is arrays["a"]
