"""One session with a site: carries out a command, and says what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from fieldgate_client import output, sequence, writing
from fieldgate_client.asking import ask
from fieldgate_client.client import SiteClient
from fieldgate_client.polling import Show
from fieldgate_client.readings import Reading, failures, problems
from fieldgate_client.selection import Item
from fieldgate_client.shell import arguments, words
from fieldgate_client.shell.status import status
from fieldgate_client.shell.tunnel import LinkLine
from fieldgate_client.shell.voice import Voice
from fieldgate_client.site import Site
from fieldgate_core.errors import EXIT_OK, ConfigError, FieldgateError
from fieldgate_core.modbus import unit_id
from fieldgate_tunnel.link import Link

Confirm = Callable[[str], Awaitable[bool]]
"""Asks a person a question, and gives whether they said yes."""
Live = Callable[[str, Sequence[Item], Callable[[Show], Awaitable[None]]], Awaitable[None]]
"""Draws what a poll shows, as `live` does."""


class _NotConfirmedError(Exception):
    """The person did not say yes."""


class Session:
    """The unit that is chosen, and what carries out commands.

    `confirm` asks before a write; None where there is nobody to ask, and `yes` writes without asking. `live` draws what
    is watched; None where nothing can be drawn. `polls` is False where `watch` is to ask once.
    """

    def __init__(self, name: str, site: Site, link: Link, voice: Voice, *, yes: bool) -> None:
        self.name = name
        self.site = site
        self.voice = voice
        self.ended = False
        self.confirm: Confirm | None = None
        self.live: Live | None = None
        self.polls = False
        self._yes = yes
        self._link = link
        self._client = SiteClient(LinkLine(site.url, link), site.timeout, unit=site.unit)

    @property
    def prompt(self) -> str:
        """The site, the unit, and how the tunnel stands."""
        return f"{self.name} unit {self.site.unit} {self._link.state}> "

    async def carry_out(self, line: str) -> int:
        """Carry out a line, and give the exit code that a command with its outcome has. Raises no FieldgateError."""
        if not line.strip():
            return EXIT_OK
        self.voice.asked(line)
        try:
            command = words.parse(line)
            return EXIT_OK if command is None else await self._command(command)
        except FieldgateError as error:
            self.voice.failed(error)
            return error.exit_code
        except _NotConfirmedError:
            self.voice.tell("nothing was written")
            return EXIT_OK

    async def _command(self, command: words.Command) -> int:
        verb, args = command
        match verb:
            case "read":
                return await self._read(arguments.read(self.site, args))
            case "write":
                await self._write(arguments.write(self.site, args))
            case "watch":
                return await self._watch(*arguments.watch(self.site, args))
            case "demo":
                return await self._demo(_at_most_one(verb, args))
            case "unit":
                self._unit(_at_most_one(verb, args))
            case "help":
                word = _at_most_one(verb, args)
                self.voice.answer(words.usage() if word is None else words.told(words.verb(word)))
            case "status":
                _no_arguments(verb, args)
                self.voice.answer(status(self._link.status(), self.site.unit, self.site.points))
            case _:
                _no_arguments(verb, args)
                self.ended = True
        return EXIT_OK

    async def _read(self, items: Sequence[Item]) -> int:
        readings = await ask(self._client, items)
        errors = failures(readings)
        self._answer(readings)
        return errors[0].exit_code if errors else EXIT_OK

    def _answer(self, readings: Sequence[Reading]) -> None:
        self.voice.answer(output.table(readings))
        for line in problems(readings):
            self.voice.tell(f"error: {line}")

    async def _write(self, changes: Sequence[writing.Change]) -> None:
        self._must_be_able_to_ask("write")

        async def confirm(lines: list[str]) -> None:
            self.voice.answer("".join(f"{line}\n" for line in lines))
            await self._confirmed("Write?")

        done = await writing.write(self._client, changes, confirm)
        self.voice.answer(f"written: {len(done)}\n")
        for line in writing.doubts(done):
            self.voice.tell(f"warning: {line}")

    async def _watch(self, items: Sequence[Item], seconds: float) -> int:
        if not self.polls:
            return await self._read(items)
        last: Sequence[Reading] = ()

        async def poll(show: Show) -> None:
            nonlocal last
            while True:
                last = await ask(self._client, items)
                show(datetime.now(UTC), last)
                await asyncio.sleep(seconds)

        try:
            if self.live is None:
                await poll(lambda _, readings: self._answer(readings))
            else:
                await self.live(str(self.site.url), items, poll)
        finally:
            if self.live is not None:
                self.voice.note(output.table(last))
        return EXIT_OK

    async def _demo(self, address: str | None) -> int:
        self._must_be_able_to_ask("demo")
        if address is not None and not address.isdecimal():
            raise ConfigError("demo", f"{address!r} is no address", hint="help demo tells what it takes")
        at = sequence.places(self.site.unit, int(address or 0), base=0)
        self.voice.answer(f"It changes {at.coil} and {at.registers} of unit {self.site.unit}, and puts them back.\n")
        await self._confirmed("Go on?")
        return await sequence.play(self.site, at, self.voice.answer)

    def _unit(self, text: str | None) -> None:
        if text is not None:
            try:
                self.site = replace(self.site, unit=unit_id(int(text)))
            except ValueError:
                raise ConfigError("unit", f"{text!r} is none of 0 to 255") from None
        self.voice.answer(f"unit {self.site.unit}\n")

    def _must_be_able_to_ask(self, verb: str) -> None:
        if not self._yes and self.confirm is None:
            raise ConfigError(verb, "there is no terminal to ask on", hint="start the shell with --yes")

    async def _confirmed(self, question: str) -> None:
        if not self._yes and self.confirm is not None and not await self.confirm(f"{question} [y/N] "):
            raise _NotConfirmedError


def _at_most_one(verb: str, args: list[str]) -> str | None:
    _no_arguments(verb, args[1:])
    return args[0] if args else None


def _no_arguments(verb: str, args: list[str]) -> None:
    if args:
        raise ConfigError(verb, f"has no place for {' '.join(args)}", hint=f"help {verb} tells what it takes")
