"""Load one TOML file into the frozen dataclass that the caller gives; unknown keys and wrong types are refused."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from fieldgate_core.errors import ConfigError

T = TypeVar("T")

_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path", date: "a date"}


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError that names the file and, for bad syntax, the line."""
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(str(file), "is not UTF-8 text") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(file), f"is not valid TOML: {error}") from None


def load(file: Path, schema: type[T]) -> T:
    """Load a TOML file into `schema`, a frozen dataclass. Paths in it are relative to the file's folder.

    Raises ConfigError that names the file and the key path.
    """
    return build(read_toml(file), schema, where=str(file), base=file.resolve().parent)


def build(raw: dict[str, Any], schema: type[T], *, where: str, base: Path) -> T:
    """Build `schema` from the tables of a TOML file. Raises ConfigError as `load` does."""
    built, faults = examine(raw, schema, where=where, base=base)
    if built is None:
        raise faults[0]
    return built


def examine(raw: dict[str, Any], schema: type[T], *, where: str, base: Path) -> tuple[T | None, list[ConfigError]]:
    """As `build`, but give all that is wrong at once, and None where something is.

    A field whose name is a word of Python's ends with an underscore: `from_` is the key `from`.
    """
    try:
        return typing.cast("T", _Reader(where, base).table(raw, schema, "")), []
    except _FaultsError as wrong:
        return None, wrong.faults


class _FaultsError(Exception):
    """All that is wrong below one key."""

    def __init__(self, faults: list[ConfigError]) -> None:
        super().__init__()
        self.faults = faults


class _Reader:
    """Walks a schema and the raw values side by side; `key` is the dotted path so far."""

    def __init__(self, where: str, base: Path) -> None:
        self.where = where
        self.base = base

    def fault(self, key: str, problem: str, hint: str = "") -> ConfigError:
        return ConfigError(f"{self.where}: {key}" if key else self.where, problem, hint=hint)

    def fail(self, key: str, problem: str, hint: str = "") -> _FaultsError:
        return _FaultsError([self.fault(key, problem, hint)])

    def table(self, raw: object, schema: type[Any], key: str) -> object:
        if not isinstance(raw, dict):
            raise self.fail(key, f"must be a table, not {raw!r}")
        types_of = typing.get_type_hints(schema)
        fields = {field.name.rstrip("_"): field for field in dataclasses.fields(schema)}
        faults: list[ConfigError] = []
        missing = False
        for name in raw:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                known = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(fields))}"
                faults.append(self.fault(_join(key, name), "unknown key", known))
        for name, field in fields.items():
            optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            if name not in raw and not optional:
                missing = True
                faults.append(self.fault(_join(key, name), "is missing"))
        given = [name for name in fields if name in raw]
        kinds = [types_of[fields[name].name] for name in given]
        values, wrong = self.gather([raw[name] for name in given], kinds, [_join(key, name) for name in given])
        faults += wrong
        made: object = None
        if not wrong and not missing:
            # what holds between keys is judged although there are unknown ones: all that is wrong is told at once
            try:
                made = schema(**{fields[name].name: value for name, value in zip(given, values, strict=True)})
            except ValueError as error:
                faults.append(self.fault(key, str(error)))
            except ConfigError as error:
                faults.append(error)
        if faults:
            raise _FaultsError(faults)
        return made

    def each(self, raws: list[Any], kinds: list[Any], keys: list[str]) -> list[object]:
        """Read several values. Raises all that is wrong with them."""
        values, faults = self.gather(raws, kinds, keys)
        if faults:
            raise _FaultsError(faults)
        return values

    def gather(self, raws: list[Any], kinds: list[Any], keys: list[str]) -> tuple[list[object], list[ConfigError]]:
        """Read several values, and give them, and all that is wrong with the others."""
        values: list[object] = []
        faults: list[ConfigError] = []
        for raw, kind, key in zip(raws, kinds, keys, strict=True):
            try:
                values.append(self.value(raw, kind, key))
            except _FaultsError as wrong:  # noqa: PERF203 - all that is wrong is told at once
                faults += wrong.faults
        return values, faults

    def value(self, raw: object, kind: Any, key: str) -> object:  # noqa: PLR0911
        origin = typing.get_origin(kind)
        if origin in {types.UnionType, typing.Union}:
            return self.union(raw, [arg for arg in typing.get_args(kind) if arg is not type(None)], key)
        if origin is tuple:
            if not isinstance(raw, list):
                hint = f"[[{key}]]" if isinstance(raw, dict) else "[...]"
                raise self.fail(key, f"must be a list, not {raw!r}", f"write {hint}")
            inner = typing.get_args(kind)[0]
            return tuple(self.each(raw, [inner] * len(raw), [f"{key}[{index}]" for index in range(len(raw))]))
        if origin is dict:
            if not isinstance(raw, dict):
                raise self.fail(key, f"must be a table, not {raw!r}")
            inner = typing.get_args(kind)[1]
            values = self.each(list(raw.values()), [inner] * len(raw), [_join(key, name) for name in raw])
            return dict(zip(raw, values, strict=True))
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self.table(raw, kind, key)
        if kind is Path and isinstance(raw, str) and raw:
            return self.base / Path(raw).expanduser()
        if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
            return float(raw)
        if isinstance(raw, bool) is not (kind is bool) or not isinstance(raw, kind):
            raise self.fail(key, f"must be {_NAMES.get(kind, kind.__name__)}, not {raw!r}")
        return raw

    def union(self, raw: object, kinds: list[Any], key: str) -> object:
        for kind in kinds[:-1]:
            try:
                return self.value(raw, kind, key)
            except _FaultsError:
                continue
        return self.value(raw, kinds[-1], key)


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
