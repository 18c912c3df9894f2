import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rules.batches import slices

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('{"events":[]}', []),
        ('{"events":[1, {"a" : 1} ,"x"]}', ["1", '{"a" : 1}', '"x"']),
        (' { "a" : [ 1 ] , "events" : [ 1.50 , [ ] ] , "b" : {} } ', ["1.50", "[ ]"]),
        ('{"events":[1],"events":[2,3]}', ["2", "3"]),
        ('{"\\u0065vents":[1]}', ["1"]),
        ('{"inner":{"events":[1]},"events":[2]}', ["2"]),
        ('{"events":["]","}",",","\\""]}', ['"]"', '"}"', '","', '"\\""']),
        ('{"events":[12345678901234567890123,1e5]}', ["12345678901234567890123", "1e5"]),
        ('{"events":"none"}', []),
    ],
)
def test_each_item_is_cut_out_as_it_stands(text, items):
    assert slices(text, "events") == items


@given(st.lists(JSON, max_size=5), st.dictionaries(st.text(max_size=4), JSON, max_size=3), st.sampled_from([None, 1]))
def test_the_items_are_those_that_a_parser_sees(items, around, indent):
    text = json.dumps({**around, "events": items, "z": around}, indent=indent)
    assert [json.loads(item) for item in slices(text, "events")] == items
