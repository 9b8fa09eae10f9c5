"""What the checks let through, and what they say when they do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from activeduel.theory.checks import (
    integer_array,
    one_of,
    positive_number,
    probability,
    real_array,
    whole_number,
)


@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=2)))
def test_real_array_returns_the_finite_values_or_refuses(values):
    if np.isfinite(values).all():
        np.testing.assert_array_equal(real_array("x", values, (None, None)), values)
    else:
        with pytest.raises(ValueError, match="x: found a value that is not finite"):
            real_array("x", values, (None, None))


@pytest.mark.parametrize("value", [[1, 2], np.array([1, 2], np.int8), (1.0, 2.0), [True, False]])
def test_real_array_takes_every_real_kind(value):
    out = real_array("x", value, (2,))
    assert out.dtype == np.float64 and out.flags.c_contiguous


def test_real_array_makes_strided_input_contiguous():
    assert real_array("x", np.arange(12.0).reshape(3, 4)[:, ::2], (3, 2)).flags.c_contiguous


@pytest.mark.parametrize(
    ("value", "shape", "says"),
    [
        ([[1.0], [1.0, 2.0]], (None, None), "rows differ in length"),
        (["a", "b"], (None,), "found dtype <U1, needed real numbers"),
        ([1j], (None,), "complex128"),
        ([None], (None,), "object"),
        (np.array(["2020-01-01"], "datetime64[D]"), (None,), "datetime64"),
        ([1.0, 2.0], (3,), r"found shape \(2,\), needed \(3\)"),
        ([[1.0]], (None,), r"found shape \(1, 1\)"),
        (1.0, (None,), r"found shape \(\), needed \(any\)"),
        ([], (None,), "empty"),
        (np.zeros((0, 3)), (None, 3), "empty"),
        ([1.0, np.inf], (None,), r"index \(1,\)"),
    ],
)
def test_real_array_names_what_is_wrong(value, shape, says):
    with pytest.raises(ValueError, match=says):
        real_array("x", value, shape)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([0.5], "whole numbers"),
        ([2.0**60], "2\\^53"),
        ([-1], "found -1, needed whole numbers in 0..4"),
        ([5], "found 5, needed whole numbers in 0..4"),
        ([np.nan], "not finite"),
    ],
)
def test_integer_array_names_what_is_wrong(value, says):
    with pytest.raises(ValueError, match=says):
        integer_array("x", value, (None,), low=0, high=5)


def test_integer_array_takes_whole_floats():
    out = integer_array("x", [0.0, 4.0], (None,), low=0, high=5)
    assert out.dtype == np.int64 and out.tolist() == [0, 4]


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf, "1", None, [1.0]])
def test_positive_number_refuses(value):
    with pytest.raises(ValueError, match="x: "):
        positive_number("x", value)


def test_positive_number_takes_zero_only_where_asked():
    assert positive_number("x", 0, zero=True) == 0.0
    assert positive_number("x", np.float32(0.5)) == 0.5


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.1, np.nan, "half"])
def test_probability_refuses(value):
    with pytest.raises(ValueError, match="x: "):
        probability("x", value)


@pytest.mark.parametrize("value", [1.0, "1", None, [1], 0, 9])
def test_whole_number_refuses(value):
    with pytest.raises(ValueError, match="x: found .* needed a whole number"):
        whole_number("x", value, low=1, high=9)


@given(st.integers(1, 8))
def test_whole_number_takes_every_kind_of_integer(n):
    assert whole_number("x", np.int16(n), low=1, high=9) == n


def test_one_of_lists_what_is_known():
    assert one_of("rule", "b", ["b", "a"]) == "b"
    with pytest.raises(ValueError, match="rule: found 'c', needed one of a, b"):
        one_of("rule", "c", ["b", "a"])
