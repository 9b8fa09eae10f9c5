"""A configuration file as plain options; what YAML would read silently otherwise than meant is refused."""

from pathlib import Path
from typing import Any


def read_yaml(path: Path) -> dict[str, Any]:
    """The options in a YAML file, with safe tags only.

    Raises ``ValueError`` on a file that is not YAML, is no mapping, or says one option twice.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        root, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: found no readable YAML ({error}); repair the file.") from error
    if type(content) is not dict:
        raise ValueError(f"{path}: needed a list of options (option: value), one a line.")
    _each_key_once(path, root)
    return content


def _each_key_once(path: Path, root: Any) -> None:
    """YAML takes the last of several values without a word."""
    nodes, seen = [root], set()
    while nodes:
        node = nodes.pop()
        if node is None or isinstance(node.value, str) or id(node) in seen:
            continue
        seen.add(id(node))  # an anchor's node stands in several places
        if not isinstance(node.value[0] if node.value else None, tuple):
            nodes += node.value
            continue
        keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
        for key, value in node.value:
            if isinstance(key.value, str) and keys.count(key.value) > 1:
                raise ValueError(
                    f"{path}, line {key.start_mark.line + 1}: found {key.value!r} more than once; "
                    "needed it once. Drop the others."
                )
            nodes.append(value)
