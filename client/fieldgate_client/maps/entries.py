"""One table of a TOML or YAML file: typed reads, and which of its keys nobody asked for; pure."""

from __future__ import annotations

import math
from typing import cast

from fieldgate_core.errors import ConfigError


class Entry:
    """A table; reading a key takes it, and `ignored` gives the keys that were not taken. Raises ConfigError."""

    def __init__(self, raw: object, where: str) -> None:
        if not isinstance(raw, dict):
            raise ConfigError(where, f"must be a table, not {raw!r}")
        self._raw = cast("dict[object, object]", raw)
        self._taken: set[object] = set()
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def ignored(self) -> list[str]:
        """Give the keys that were not taken."""
        return [str(key) for key in self._raw if key not in self._taken]

    def take(self, key: str) -> object:
        """Take a key as it is; None where it is not there."""
        self._taken.add(key)
        return self._raw.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """Take a text, or a number as text."""
        value = self._given(key, default)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._wrong(key, "text", value)
        return str(value)

    def whole(self, key: str, default: int | None = None) -> int:
        """Take a whole number, also as text ("0x10")."""
        value = self._given(key, default)
        if isinstance(value, str):
            try:
                value = int(value, 0)
            except ValueError:
                raise self._wrong(key, "a whole number", value) from None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(key, "a whole number", value)
        return value

    def number(self, key: str, default: float) -> float:
        """Take a finite number."""
        value = self._given(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self._wrong(key, "a number", value)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise self._wrong(key, "a number", value) from None
        if not math.isfinite(number):
            raise self._wrong(key, "a finite number", value)
        return number

    def entries(self, key: str) -> list[Entry]:
        """Take a list of tables; a list that is not there is empty."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(key, "a list", value)
        return [Entry(raw, f"{self.where}: {key}[{index}]") for index, raw in enumerate(value)]

    def _given(self, key: str, default: object) -> object:
        value = self.take(key)
        if value is None:
            value = default
        if value is None:
            raise ConfigError(f"{self.where}: {key}", "is missing")
        return value

    def _wrong(self, key: str, kind: str, value: object) -> ConfigError:
        return ConfigError(f"{self.where}: {key}", f"must be {kind}, not {value!r}")
