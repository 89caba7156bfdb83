"""An Ansible inventory, read as it is: static YAML or INI, with the group_vars and host_vars beside it.

A host is a site when it has `fieldgate_url`, or an address to make `modbus+tls://` of. Source: Ansible's guide
"How to build your inventory" and its precedence: a host's own variables win over its groups', a child group's over
its parent's, and what lies in group_vars over what the inventory says of groups.
"""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from fieldgate_client import yaml_text
from fieldgate_core.errors import ConfigError
from fieldgate_core.sites import ListedSite, check_name

Variables = dict[str, object]
_DEEPEST = 50
"""Groups within groups; more is a circle."""
_SUFFIXES = ("", ".yml", ".yaml", ".json")
_RANGE = re.compile(r"\[([0-9]+|[a-z]):([0-9]+|[a-z])(?::([0-9]+))?\]")


@dataclass
class _Group:
    variables: Variables = field(default_factory=dict)
    beside: Variables = field(default_factory=dict)
    """What lies in group_vars."""
    hosts: dict[str, Variables] = field(default_factory=dict)
    children: list[str] = field(default_factory=list)


Groups = dict[str, _Group]


def load(file: Path) -> dict[str, ListedSite]:
    """Read the sites of an inventory, by the names of their hosts.

    Raises ConfigError for what is no static inventory, and for a host whose variables make no site.
    """
    where = str(file)
    if file.is_dir():
        raise ConfigError(where, "is a folder", hint="name the inventory file in it")
    text = _text(file)
    if text.startswith("#!"):
        hint = f"write what it says to a file: {file} --list, or ansible-inventory --list --yaml"
        raise ConfigError(where, "is a program, not a static inventory", hint=hint)
    groups = _yaml(text, where) if file.suffix in {".yml", ".yaml", ".json"} else _ini(text, where)
    groups.setdefault("all", _Group())
    _beside(groups, file.parent)
    sites = {}
    for host, variables in _hosts(groups, where).items():
        site = _site(host, variables, where, file.resolve().parent)
        if site is not None:
            sites[host] = site
    return sites


def _site(host: str, variables: Mapping[str, object], where: str, base: Path) -> ListedSite | None:
    """Make a site of a host's variables; None for a host that has no address of its own and no URL."""
    at = f"{where}: {host}"
    for key, value in variables.items():
        if key.startswith("fieldgate_") and isinstance(value, str) and ("{{" in value or value.startswith("!")):
            hint = "ansible-inventory --list --yaml writes an inventory with its values"
            raise ConfigError(f"{at}: {key}", "is a template or a secret of Ansible's", hint=hint)
    url, address = variables.get("fieldgate_url"), variables.get("ansible_host")
    if url is None:
        if not isinstance(address, str) or "{{" in address:
            return None
        url = f"modbus+tls://[{address}]" if ":" in address else f"modbus+tls://{address}"
    unit, points = variables.get("fieldgate_unit"), variables.get("fieldgate_points")
    if unit is not None and not str(unit).isdecimal():
        raise ConfigError(f"{at}: fieldgate_unit", f"must be a whole number, not {unit!r}")
    try:
        check_name(host)
        return ListedSite(
            url=str(url),
            unit=None if unit is None else int(str(unit)),
            points=None if points is None else base / Path(str(points)).expanduser(),
            domain=str(variables.get("fieldgate_domain", "")),
        )
    except ValueError as error:
        raise ConfigError(at, str(error)) from None


# groups


def _hosts(groups: Groups, where: str) -> dict[str, Variables]:
    """Give the variables of each host: all, then its groups from the outermost in, then its own."""
    depths: dict[str, int] = {}

    def visit(name: str, depth: int) -> None:
        if depth > _DEEPEST:
            raise ConfigError(f"{where}: {name}", "is a group within itself")
        depths[name] = max(depth, depths.get(name, 0))
        for child in groups[name].children if name in groups else []:
            visit(child, depth + 1)

    for name in groups:
        visit(name, 0 if name == "all" else 1)
    order = sorted(groups, key=lambda name: (depths[name], name))
    members = {name: set(_members(groups, name)) for name in order}
    members["all"] = set().union(*members.values())
    found: dict[str, Variables] = {host: {} for host in sorted(members["all"])}
    layers = [(name, groups[name].variables) for name in order] + [(name, groups[name].beside) for name in order]
    for name, variables in layers:
        for host in members[name]:
            found[host] |= variables
    for name in order:
        for host, variables in groups[name].hosts.items():
            found[host] |= variables
    return found


def _members(groups: Groups, name: str) -> set[str]:
    members = set(groups[name].hosts)
    return members.union(*(_members(groups, child) for child in groups[name].children if child in groups))


def _beside(groups: Groups, folder: Path) -> None:
    """Add the variables of group_vars/ and host_vars/."""
    for name, group in groups.items():
        group.beside = _variables(folder / "group_vars" / name)
    for group in groups.values():
        for host in group.hosts:
            group.hosts[host] = group.hosts[host] | _variables(folder / "host_vars" / host)


def _variables(stem: Path) -> Variables:
    """Read what is kept for a group or host: the first there is of NAME, a file or folder, NAME.yml and so on."""
    named = (stem.with_name(stem.name + suffix) for suffix in _SUFFIXES)
    first = next((path for path in named if path.exists()), None)
    if first is None:
        return {}
    inside = sorted(path for path in first.rglob("*") if path.is_file() and path.suffix in _SUFFIXES)
    found: Variables = {}
    for file in inside if first.is_dir() else [first]:
        text = _text(file)
        # a vaulted file keeps its secrets
        if not text.startswith("$ANSIBLE_VAULT"):
            found |= _mapping(yaml_text.load(text, str(file)), str(file))
    return found


# YAML


def _yaml(text: str, where: str) -> Groups:
    groups: Groups = {}
    root = _mapping(yaml_text.load(text, where), where)
    if isinstance(root.get("plugin"), str):
        hint = "ansible-inventory --list --yaml writes what a plugin finds"
        raise ConfigError(where, "is for an inventory plugin, not a static inventory", hint=hint)
    for name, raw in root.items():
        _yaml_group(groups, name, raw, where, 0)
    return groups


def _yaml_group(groups: Groups, name: str, raw: object, where: str, depth: int) -> None:
    at = f"{where}: {name}"
    if depth > _DEEPEST:
        raise ConfigError(at, "has too many groups within groups")
    content = _mapping(raw, at)
    group = groups.setdefault(name, _Group())
    group.variables |= _mapping(content.get("vars"), f"{at}: vars")
    for pattern, variables in _mapping(content.get("hosts"), f"{at}: hosts").items():
        for host in _expanded(pattern, at):
            group.hosts.setdefault(host, {}).update(_mapping(variables, f"{at}: {host}"))
    for child, inner in _mapping(content.get("children"), f"{at}: children").items():
        group.children.append(child)
        _yaml_group(groups, child, inner, where, depth + 1)


def _mapping(raw: object, where: str) -> Variables:
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(where, f"must be a table, not {raw!r}")
    return {str(key): value for key, value in cast("dict[object, object]", raw).items()}


# INI


def _ini(text: str, where: str) -> Groups:
    groups: Groups = {"ungrouped": _Group()}
    section, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        at = f"{where}, line {number}"
        if match := re.fullmatch(r"\[([^:\]]+)(?::(hosts|children|vars))?\]\s*(?:#.*)?", line):
            section, kind = match[1], match[2] or "hosts"
            groups.setdefault(section, _Group())
            continue
        group = groups[section]
        match kind:
            case "vars":
                key, equals, value = line.partition("=")
                if not equals:
                    raise ConfigError(at, "must be NAME=VALUE")
                group.variables[key.strip()] = _value(value.strip())
            case "children":
                child = line.split()[0]
                group.children.append(child)
                groups.setdefault(child, _Group())
            case _:
                _ini_host(group, line, at)
    return groups


def _ini_host(group: _Group, line: str, at: str) -> None:
    try:
        pattern, *pairs = shlex.split(line, comments=True)
    except ValueError as error:
        raise ConfigError(at, str(error)) from None
    variables: Variables = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(at, f"{pair!r} must be NAME=VALUE")
        variables[key] = _value(value)
    for host in _expanded(pattern, at):
        group.hosts.setdefault(host, {}).update(variables)


def _value(text: str) -> object:
    """Read a value as Ansible does: a literal of Python's, or the text."""
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
            value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return value


# ranges of hosts


def _expanded(pattern: str, at: str) -> Iterator[str]:
    """Give the hosts of box[01:20].example.com, which are 20; a name without a range is itself."""
    match = _RANGE.search(pattern)
    if not match:
        yield pattern
        return
    first, last, step = match[1], match[2], int(match[3] or 1)
    names: Callable[[int], str]
    if first.isdigit() and last.isdigit():
        low, high, width = int(first), int(last), len(first)
        names = lambda number: f"{number:0{width}}"  # noqa: E731
    elif first.isalpha() and last.isalpha():
        low, high, names = ord(first), ord(last), chr
    else:
        raise ConfigError(at, f"{match[0]} is no range")
    if step < 1 or not low <= high <= low + 100_000:
        raise ConfigError(at, f"{match[0]} is no range")
    for number in range(low, high + 1, step):
        yield from _expanded(pattern[: match.start()] + names(number) + pattern[match.end() :], at)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None
