"""YAML that others wrote, as plain data: no tag is followed, and nothing in it is executed."""

from __future__ import annotations

import yaml

from fieldgate_core.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Reads a tag of another program (!secret, !vault, !include) as the text after it."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> str:  # noqa: ARG001
    return f"!{suffix} {node.value}" if isinstance(node, yaml.ScalarNode) else f"!{suffix}"


_Loader.add_multi_constructor("!", _tagged)


def load(text: str, where: str) -> object:
    """Read a YAML document. Raises ConfigError that names the file and the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}", f"is not valid YAML: {getattr(error, 'problem', error)}") from None
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        # as for a !!timestamp that is no time: PyYAML's constructors take the tag's word for it
        raise ConfigError(where, f"is not valid YAML: {error}") from None


def dump(data: object) -> str:
    """Write plain data as YAML, in the order that it has."""
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    return text
