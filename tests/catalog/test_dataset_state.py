from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atlas.catalog.dataset_state import DatasetState
from atlas.format.attribute_keys import flatten_key

KEYS = st.sampled_from(["a", "b", "c", "a.b", "a.b.c", ("a",), ("c",), ("a", "b"), ("a", "b.c"), ("a.b", "c")])


def set_in(attributes, key, value):
    """What setting an attribute means, slowly: one that is shown alike is replaced where it stands."""
    found = [name for name in attributes if flatten_key(name) == flatten_key(key)]
    if not found:
        return {**attributes, key: value}
    return {key if name == found[0] else name: value if name == found[0] else old for name, old in attributes.items()}


@given(st.lists(KEYS, max_size=4), st.lists(st.tuples(KEYS, st.sampled_from(["", "look", "hold"])), max_size=8))
def test_attributes_are_set_in_their_places_whenever_they_are_looked_up(before, steps):
    stored, loads = {}, []
    for number, key in enumerate(before):
        stored = set_in(stored, key, number)
    want = stored

    def load():
        loads.append(None)
        return dict(stored)

    state = DatasetState(0, "d", {}, load, new=False)
    for number, (key, action) in enumerate(steps):
        state.set_attribute(key, -number)
        want = set_in(want, key, -number)
        if action == "look":
            assert list(state.attributes_now().items()) == list(want.items())
            state.attributes_now().clear()
        elif action == "hold":
            assert list(state.attributes.items()) == list(want.items())
    assert list(state.attributes.items()) == list(want.items())
    assert list(state.attributes_now().items()) == list(want.items())


@given(st.lists(KEYS, max_size=3), st.dictionaries(KEYS, st.integers(), max_size=6), st.booleans())
def test_many_attributes_are_set_as_one_after_another(before, values, is_held):
    stored = {}
    for key in before:
        stored = set_in(stored, key, "before")
    want = stored
    for key, value in values.items():
        want = set_in(want, key, value)
    state = DatasetState(0, "d", {}, lambda: dict(stored), new=False)
    if is_held:
        assert state.attributes == stored
    state.set_attributes(values)
    assert list(state.attributes.items()) == list(want.items())


def test_what_has_no_dot_is_set_without_a_look_at_the_others():
    loads = []
    state = DatasetState(0, "d", {}, lambda: loads.append(None) or {"a": 1}, new=False)
    for key in ("b", "a", "b"):
        state.set_attribute(key, 2)
    assert loads == []
    assert state.attributes == {"a": 2, "b": 2}
    assert state.attributes is state.attributes
    assert len(loads) == 1
