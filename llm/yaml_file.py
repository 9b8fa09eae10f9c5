"""A configuration file as plain options; what YAML would read silently otherwise than meant is refused."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

# plain scalars that YAML 1.1 reads as something else: 1:30 is 90, 010 is 8, 2024-01-01 a date
_SURPRISING = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?0[0-7_]+|.*:.*"),
    "tag:yaml.org,2002:float": re.compile(r".*:.*"),
    "tag:yaml.org,2002:timestamp": re.compile(r".*"),
}


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a YAML file, with safe tags only.

    Raises ``ValueError`` naming the line: a file that is not YAML in UTF-8, is no mapping, says one
    option twice, or holds a plain value that YAML takes for a date, for base 8 or for base 60. No
    message shows the file's text.
    """
    import yaml

    try:
        text = path.read_bytes().decode("utf-8-sig")
        root, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = f"no readable YAML (line {line}: bytes that are not UTF-8)"
        _stop(path, None, found, "UTF-8 text", "Convert the file (iconv -t UTF-8).")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = str(error.problem).replace("\\t", "tab")
        found = f"no readable YAML ({f'line {mark.line + 1}: ' if mark else ''}{why})"
        _stop(path, None, found, "options (option: value)", "Repair the line.")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found = f"no readable YAML ({type(error).__name__})"
        _stop(path, None, found, "options (option: value)", "Repair the file.")
    if type(content) is not dict:
        raise ValueError(f"{path}: needed a list of options (option: value), one a line.")
    for node in _nodes(root):
        _as_meant(path, node)
    return content


def _stop(path: Path, line: int | None, found: str, needed: str, repair: str) -> NoReturn:
    place = path if line is None else f"{path}, line {line}"
    raise ValueError(f"{place}: found {found}; needed {needed}. {repair}") from None


def _nodes(root: Any) -> Iterator[Any]:
    """Every node once: an anchor's stands in several places."""
    nodes, seen = [root], set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if not isinstance(node.value, str):
            nodes += [part for item in node.value for part in _parts(item)]


def _parts(item: Any) -> tuple[Any, ...]:
    return item if isinstance(item, tuple) else (item,)


def _as_meant(path: Path, node: Any) -> None:
    """YAML takes the last of several values, and some plain texts for numbers, without a word."""
    line = node.start_mark.line + 1
    if isinstance(node.value, str):
        surprising = _SURPRISING.get(node.tag)
        if surprising and node.style is None and surprising.fullmatch(node.value):
            kind = "a date" if node.tag.endswith("timestamp") else "a number of another base"
            found = f"{node.value[:40]!r}, which YAML takes for {kind}"
            repair = "Put a text in quotes; write a number with its digits."
            _stop(path, line, found, "a plain text or number", repair)
        return
    keys = [item[0] for item in node.value if isinstance(item, tuple)]
    names = [key.value for key in keys if isinstance(key.value, str)]
    for key in keys:
        if isinstance(key.value, str) and names.count(key.value) > 1:
            line = key.start_mark.line + 1
            _stop(path, line, f"{key.value!r} more than once", "it once", "Drop the others.")
