"""docs/policy.md says what the code does: its table of functions, and every piece of policy that it shows."""

from __future__ import annotations

import re
import tomllib

import pytest

from fieldgate_server.catalogue import FUNCTIONS
from fieldgate_server.policy import parse
from support import function_table

PAGE = function_table.PAGE.read_text(encoding="utf-8")


def test_the_table_of_functions_is_the_catalogues() -> None:
    assert function_table.rewritten(PAGE) == PAGE, "stale: `make docs` writes it anew"


def test_a_page_that_was_changed_by_hand_is_stale() -> None:
    begin, end = PAGE.index(function_table.BEGIN), PAGE.index(function_table.END)
    changed = PAGE[:begin] + PAGE[begin:end].replace("`43/14`", "`43/13`") + PAGE[end:]
    assert changed != PAGE
    assert function_table.rewritten(changed) == PAGE
    with pytest.raises(ValueError, match="markers"):
        function_table.rewritten(PAGE.replace(function_table.END, ""))


def test_the_table_names_every_function_once() -> None:
    assert sorted(re.findall("`([0-9]+(?:/[0-9A-F]+)?)`", function_table.table())) == sorted(
        function.name for function in FUNCTIONS
    )


@pytest.mark.requirement("R-24", "R-25")
def test_the_policies_of_the_page_compile() -> None:
    shown = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert shown
    for text in shown:
        whole = re.sub(r'"(ssh-ca|key):SHA256:[^"]*"', rf'"\1:SHA256:{"a" * 43}"', text)
        roles = parse(tomllib.loads(whole), where="docs/policy.md").roles
        assert roles
