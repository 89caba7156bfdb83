"""The error tree: texts and exit codes that scripts and people rely on."""

import pytest

from fieldgate_core import errors


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (
            errors.ConfigError("a.toml: tls.port", "must be a whole number"),
            "a.toml: tls.port: must be a whole number",
            2,
        ),
        (errors.PkiError("box-1", "already there"), "box-1: already there", 2),
        (
            errors.ExceptionReplyError(3, 2, "illegal data address"),
            "function 3 answered with exception 02 (illegal data address)",
            1,
        ),
        (
            errors.UnreachableError("modbus+tls://b:802", "connection refused"),
            "modbus+tls://b:802: connection refused",
            3,
        ),
        (errors.NotTrustedError("u", "p"), "u: p", 3),
        (errors.RejectedError("u", "p"), "u: p", 3),
        (errors.TunnelLostError("u", "p"), "u: p", 3),
        (errors.DeadlineError("reading", 3.0), "reading: no answer within 3 s", 4),
        (
            errors.OutcomeUnknownError(6, "the tunnel broke"),
            "the outcome of a write (function 6) is unknown: the tunnel broke",
            5,
        ),
    ],
)
def test_each_error_has_its_text_and_exit_code(error: errors.FieldgateError, text: str, code: int) -> None:
    assert str(error) == text
    assert error.exit_code == code


def test_every_class_stands_in_the_module_docstring() -> None:
    doc = errors.__doc__ or ""
    classes = [name for name, value in vars(errors).items() if isinstance(value, type)]
    assert classes
    assert [name for name in classes if f"`{name}`" not in doc] == []
