"""The errors that fieldgate raises, each with its facts in fields, a hint and an exit code.

* `FieldgateError`
    * `ConfigError` (exit 2): a setting, a policy or a file is wrong; nothing was started
    * `PkiError` (exit 2): a certificate cannot be made or stored as asked
    * `ExceptionReplyError` (exit 1): the server answered with a Modbus exception
    * `TunnelError` (exit 3): there is no tunnel to speak through
        * `UnreachableError`: nothing answers there
        * `NotTrustedError`: we do not accept the peer's key or certificate
        * `RejectedError`: the peer does not accept ours
        * `TunnelLostError`: the tunnel broke; what was asked was not sent or changes nothing
    * `DeadlineError` (exit 4): no answer in time, and asking again does no harm
    * `OutcomeUnknownError` (exit 5): a write was sent and its answer never came
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_EXCEPTION_REPLY = 1
EXIT_CONFIG = 2
EXIT_TUNNEL = 3
EXIT_DEADLINE = 4
EXIT_OUTCOME_UNKNOWN = 5


class FieldgateError(Exception):
    """Base of all errors that fieldgate raises on purpose.

    `hint` says what to do next (one line, may be empty); `exit_code` is what a command ends with.
    """

    exit_code = EXIT_CONFIG
    hint = ""

    def __init__(self, *, hint: str = "") -> None:
        super().__init__()
        if hint:
            self.hint = hint

    def __str__(self) -> str:
        """One line that names what, and where."""
        return type(self).__name__


class ConfigError(FieldgateError):
    """A setting, policy or file is wrong: `where` (file and key path, or option), `problem`."""

    def __init__(self, where: str, problem: str, *, hint: str = "") -> None:
        super().__init__(hint=hint)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class PkiError(FieldgateError):
    """A certificate cannot be made, read or stored: `where` (file or name), `problem`."""

    def __init__(self, where: str, problem: str, *, hint: str = "") -> None:
        super().__init__(hint=hint)
        self.where = where
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class ExceptionReplyError(FieldgateError):
    """The server answered with a Modbus exception: `function` and `code` (numbers), `meaning`."""

    exit_code = EXIT_EXCEPTION_REPLY

    def __init__(self, function: int, code: int, meaning: str, *, hint: str = "") -> None:
        super().__init__(hint=hint)
        self.function = function
        self.code = code
        self.meaning = meaning

    def __str__(self) -> str:
        return f"function {self.function} answered with exception {self.code:02X} ({self.meaning})"


class TunnelError(FieldgateError):
    """There is no tunnel to `target` (a URL without secrets): `problem`."""

    exit_code = EXIT_TUNNEL

    def __init__(self, target: str, problem: str, *, hint: str = "") -> None:
        super().__init__(hint=hint)
        self.target = target
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.target}: {self.problem}"


class UnreachableError(TunnelError):
    """Nothing answers at the target: no such name, connection refused, no route."""


class NotTrustedError(TunnelError):
    """The peer showed a host key or certificate that we do not accept."""


class RejectedError(TunnelError):
    """The peer does not accept our key or certificate."""


class TunnelLostError(TunnelError):
    """The tunnel broke before the request was sent, or while a read waited for its answer."""


class DeadlineError(FieldgateError):
    """`what` did not happen within `seconds`; asking again does no harm."""

    exit_code = EXIT_DEADLINE

    def __init__(self, what: str, seconds: float, *, hint: str = "") -> None:
        super().__init__(hint=hint)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.what}: no answer within {self.seconds:g} s"


class OutcomeUnknownError(FieldgateError):
    """A write (`function`) was sent once and its answer never came: it may or may not have taken effect."""

    exit_code = EXIT_OUTCOME_UNKNOWN
    hint = "read the value back before you write again; fieldgate never sends a write twice"

    def __init__(self, function: int, cause: str, *, hint: str = "") -> None:
        super().__init__(hint=hint)
        self.function = function
        self.cause = cause

    def __str__(self) -> str:
        return f"the outcome of a write (function {self.function}) is unknown: {self.cause}"
