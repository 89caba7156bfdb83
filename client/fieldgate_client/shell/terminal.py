"""The shell at a terminal: a prompt with history and Tab; Ctrl-C stops the command that runs, and nothing else."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable, Sequence

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app_or_none, run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import History
from prompt_toolkit.shortcuts import CompleteStyle

from fieldgate_client.points import Point
from fieldgate_client.shell.completion import offers
from fieldgate_client.shell.session import Session
from fieldgate_core.errors import EXIT_OK


class _InterruptError(Exception):
    """Ctrl-C at the prompt."""


class Terminal:
    """Takes lines from a person, and runs them in a session."""

    def __init__(self, session: Session, history: History, points: Sequence[Point]) -> None:
        self._session = session
        self._running: asyncio.Task[int] | None = None
        self._prompt: PromptSession[str] = PromptSession(
            history=history,
            completer=_Completer(points, lambda: session.site.unit),
            complete_style=CompleteStyle.READLINE_LIKE,
            complete_while_typing=False,
            enable_history_search=True,
            interrupt_exception=_InterruptError,
        )
        self._drawing: set[asyncio.Future[None]] = set()
        session.confirm = self._confirm
        session.polls = True
        session.voice.around = self._around

    async def run(self) -> int:
        """Take lines until quit or Ctrl-D."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        while not self._session.ended:
            try:
                text = await self._ask(self._prompt, lambda: self._session.prompt)
            except _InterruptError:
                continue
            except EOFError:
                break
            # what is pasted has several
            for line in text.splitlines():
                if self._session.ended or not await self._run(line):
                    break
        return EXIT_OK

    async def _run(self, line: str) -> bool:
        """Run a line; False if it was stopped, and what was pasted behind it is not to run."""
        self._running = asyncio.ensure_future(self._session.carry_out(line))
        try:
            await self._running
        except asyncio.CancelledError:
            if _we_are_stopped():
                raise
            self._session.voice.tell("stopped")
            return False
        finally:
            stopped, self._running = bool(self._running.cancelling()), None
        if _we_are_stopped():
            raise asyncio.CancelledError
        return not stopped

    def _interrupt(self) -> None:
        if self._running is not None and not self._running.cancelling():
            self._running.cancel()

    async def _confirm(self, question: str) -> bool:
        asking: PromptSession[str] = PromptSession(interrupt_exception=_InterruptError)
        try:
            return (await self._ask(asking, question)).strip().lower() in {"y", "yes"}
        except (_InterruptError, EOFError):
            return False

    async def _ask(self, prompt: PromptSession[str], message: str | Callable[[], str]) -> str:
        return await prompt.prompt_async(message, handle_sigint=False, set_exception_handler=False)

    def _around(self, prints: Callable[[], None]) -> None:
        """Print above a prompt that stands."""
        if get_app_or_none() is None:
            prints()
            return
        drawing: asyncio.Future[None] = asyncio.ensure_future(run_in_terminal(prints))
        self._drawing.add(drawing)
        drawing.add_done_callback(self._drawing.discard)


class _Completer(Completer):
    def __init__(self, points: Sequence[Point], unit: Callable[[], int]) -> None:
        self._points = points
        self._unit = unit

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Offer what fits at the cursor."""
        units = {self._unit(), *(point.unit_id for point in self._points if point.unit_id is not None)}
        word, found = offers(document.text_before_cursor, self._points, sorted(units))
        for offer in found:
            yield Completion(offer, start_position=-len(word))


def _we_are_stopped() -> bool:
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())
