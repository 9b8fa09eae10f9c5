"""What arrives at a public function: turned into clean arrays, or refused with found / needed / do this."""

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _shape_text(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"


def _check_shape(name: str, found: tuple[int, ...], shape: Sequence[int | None]) -> None:
    fits = len(found) == len(shape) and all(
        s is None or s == f for f, s in zip(found, shape, strict=False)
    )
    if not fits:
        raise ValueError(f"{name}: found shape {found}, needed {_shape_text(shape)}.")
    if 0 in found:
        raise ValueError(f"{name}: found shape {found}, which is empty; pass at least one entry.")


def real_array(
    name: str, value: ArrayLike, shape: Sequence[int | None], *, finite: bool = True
) -> Floats:
    """``value`` as float64 of the wanted shape (``None`` = any length), not empty, all finite.

    ``finite=False`` leaves it to the caller to see that all is finite.

    >>> real_array("z", [[1, 2]], (None, 2))
    array([[1., 2.]])
    >>> real_array("z", [[1, float("nan")]], (None, 2))
    Traceback (most recent call last):
    ValueError: z: found a value that is not finite at index (0, 1); remove or repair that entry.
    """
    try:
        raw = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: rows differ in length; pass one rectangular array.") from error
    if raw.dtype.kind not in "biuf":
        raise ValueError(f"{name}: found dtype {raw.dtype}, needed real numbers.")
    out = np.ascontiguousarray(raw, dtype=np.float64).reshape(raw.shape)
    _check_shape(name, out.shape, shape)
    if finite and not np.isfinite(out).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(out))[0])
        raise ValueError(
            f"{name}: found a value that is not finite at index {where}; "
            "remove or repair that entry."
        )
    return out


def integer_array(
    name: str, value: ArrayLike, shape: Sequence[int | None], *, low: int, high: int | None = None
) -> Ints:
    """``value`` as int64 of the wanted shape with low <= entries (< high, where given)."""
    raw = real_array(name, value, shape)
    if (raw != np.rint(raw)).any() or (np.abs(raw) > 2**53).any():
        raise ValueError(
            f"{name}: found {raw[raw != np.rint(raw)][:1]}, needed whole numbers below 2^53."
        )
    out = raw.astype(np.int64)
    bad = (out < low) | ((out >= high) if high is not None else False)
    if bad.any():
        span = f">= {low}" if high is None else f"in {low}..{high - 1}"
        raise ValueError(f"{name}: found {out[bad].flat[0]}, needed whole numbers {span}.")
    return out


def positive_number(name: str, value: Any, *, zero: bool = False) -> float:
    """``value`` as a finite float above 0 (or at least 0 with ``zero=True``)."""
    number = float(real_array(name, value, ()))
    if number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name}: found {number:g}, needed a number {'>=' if zero else '>'} 0.")
    return number


def probability(name: str, value: Any) -> float:
    """``value`` as a float strictly between 0 and 1."""
    number = float(real_array(name, value, ()))
    if not 0 < number < 1:
        raise ValueError(f"{name}: found {number:g}, needed a number strictly between 0 and 1.")
    return number


def whole_number(name: str, value: Any, *, low: int, high: int | None = None) -> int:
    """``value`` as an int of at least ``low`` (and below ``high``, where given)."""
    try:
        number = index(value)
    except TypeError as error:
        raise ValueError(f"{name}: found {value!r}, needed a whole number.") from error
    if number < low or (high is not None and number >= high):
        span = f">= {low}" if high is None else f"in {low}..{high - 1}"
        raise ValueError(f"{name}: found {number}, needed a whole number {span}.")
    return number


def one_of(name: str, value: Any, known: Sequence[str]) -> str:
    """``value`` if it is among ``known``; otherwise an error that lists them."""
    if value not in known:
        raise ValueError(f"{name}: found {value!r}, needed one of {', '.join(sorted(known))}.")
    return str(value)
