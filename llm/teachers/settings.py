"""The settings of one teacher: the keys of its kind, read into a frozen record."""

import dataclasses
import difflib
import math
import types
from collections.abc import Callable
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from ..config import TeacherOptions

Record = TypeVar("Record")


def read_settings(options: TeacherOptions, record: type[Record]) -> Record:
    """``options.settings`` as ``record``, a dataclass whose fields are the kind's keys.

    Raises ``ValueError`` naming the teacher: an unknown key (with the nearest one), a key that is
    missing, a value of another type, an empty text, a number that is not finite; and what the
    record's own ``check(options)`` refuses.
    """
    where, hints = f"teachers: {options.name!r} ({options.kind})", get_type_hints(record)
    for key in options.settings:
        if key not in hints:
            known = sorted({*hints, *get_type_hints(TeacherOptions)} - {"settings"})
            close = difflib.get_close_matches(str(key), known, n=1)
            meant = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."
            raise ValueError(f"{where}: found no such setting as {key!r}. {meant}")
    values = {k: _value(f"{where}: {k!r}", v, hints[k]) for k, v in options.settings.items()}
    for needed in dataclasses.fields(record):  # type: ignore[arg-type]
        if needed.name not in values and needed.default is needed.default_factory:
            raise ValueError(f"{where}: found no {needed.name!r}, needed it. Add it.")
    found = record(**values)
    check: Callable[[TeacherOptions], None] | None = getattr(found, "check", None)
    if check is not None:
        check(options)
    return found


def refuse(options: TeacherOptions, found: str, needed: str, repair: str) -> NoReturn:
    """Raise the ``ValueError`` that names the teacher."""
    raise ValueError(
        f"teachers: {options.name!r} ({options.kind}): found {found}; needed {needed}. {repair}"
    )


def _value(where: str, value: Any, hint: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for kind in kinds:
        if kind is Any or (value is None and kind is type(None)):
            return value
        if get_origin(kind) is Literal and value in get_args(kind):
            return value
        if kind is float and (number := _number(value)) is not None:
            return number
        if kind is str and type(value) is int:  # as YAML reads a name of digits
            return str(value)
        if kind in (int, bool, str) and type(value) is kind and value != "":
            return value
    words = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}
    wanted = " or ".join(
        ", ".join(map(repr, get_args(k))) if get_origin(k) is Literal else words.get(k, "null")
        for k in kinds
    )
    raise ValueError(f"{where}: found {value!r}, needed {wanted}. Repair the configuration.")


def _number(value: Any) -> float | None:
    """A finite number, also where YAML read 1e-5 as text."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
