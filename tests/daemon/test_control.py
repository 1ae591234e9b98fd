"""Changes of parameters as they come from outside."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftcam.daemon.changes import changed
from driftcam.engines.api import ParameterError, Parameters

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from([*Parameters().to_dict(), "prompt", "unknown"])


@given(st.dictionaries(names, json_values, max_size=4) | json_values)
def test_whatever_is_asked_for_is_done_or_refused(changes: object) -> None:
    try:
        assert isinstance(changed(Parameters(), changes), Parameters)
    except ParameterError as error:
        assert error.advice
