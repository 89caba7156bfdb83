"""Measure what a tunnel costs beside stock ssh: memory of each, and time from nothing to the first value."""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import servers
from bench.lab import MODBUS_READY, BenchError, Lab, Process
from bench.toolchain import NotInstalledError, tool

from fieldgate_core.url import parse
from fieldgate_tunnel.link import Link, to_site
from fieldgate_tunnel.link_events import LinkEvent, LinkUp

MANY = 101
ROUNDS = 9
READ = bytes.fromhex("000100000006010300000001")


def main() -> int:
    """Print both tables. Exit codes: 0 measured, 1 a server failed, 2 no bench here."""
    try:
        with tempfile.TemporaryDirectory(prefix="fieldgate-bench-") as folder, Lab(Path(folder)) as lab:
            tls, ssh = servers.both_doors(lab, 4 * MANY)
            urls = {"over TLS": f"modbus+tls://127.0.0.1:{tls}", "over SSH": f"modbus+ssh://bench@127.0.0.1:{ssh}"}
            _memory(lab, urls, ssh)
            _set_up(lab, urls, ssh)
    except NotInstalledError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def _memory(lab: Lab, urls: dict[str, str], ssh: int) -> None:
    one = _pss(lab.start("ssh", [tool("ssh", "openssh-client"), *_stock(lab, ssh)]).handle)
    print(f"memory a tunnel (proportional set size), {MANY - 1} more in one process; x one `ssh -L` ({one:.0f} kB)\n")
    for name, url in urls.items():
        sizes = []
        for count in (1, MANY):
            tables = [
                f'[[forward]]\nurl = "{url}"\nidentity = "{lab.pki.client}"\nlisten = ["{listen}"]\n'
                for listen in ("127.0.0.1:0", *(f"unix:{number}" for number in range(1, count)))
            ]
            file = lab.folder / f"{count}.toml"
            file.write_text("".join(tables))
            label = f"forward-{name.split()[1]}-{count}"
            server = lab.serve(label, (lab.fieldgate, "tunnel", "forward", "--file", file), ready=MODBUS_READY)
            _wait_for(server.processes[0], ": up, round trip", count)
            sizes.append(_pss(server.processes[0].handle))
            server.processes[0].handle.terminate()
            server.processes[0].handle.wait()
        each = (sizes[1] - sizes[0]) / (MANY - 1)
        print(f"{name}  {each:6.1f} kB  x {each / one:.3f}")
    print("\ntarget    x 0.03\n")


def _set_up(lab: Lab, urls: dict[str, str], ssh: int) -> None:
    def stock() -> float:
        begun = time.perf_counter()
        command = [tool("ssh", "openssh-client"), *servers.ssh_options(lab), "-p", str(ssh), "-W", "localhost:502"]
        with subprocess.Popen([*command, "127.0.0.1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(READ)
            process.stdin.flush()
            if len(process.stdout.read(11)) != 11:
                raise BenchError("ssh -W gave no reply")
            taken = time.perf_counter() - begun
            process.kill()
        return taken

    taken: dict[str, list[float]] = {"ssh -W": [], **{name: [] for name in urls}}
    with asyncio.Runner() as runner:
        for _ in range(ROUNDS):
            taken["ssh -W"].append(stock())
            for name, url in urls.items():
                taken[name].append(runner.run(_until_up(url, lab.pki.client)))
    base = statistics.median(taken["ssh -W"])
    print(f"set-up to the first value inside a running process; x `ssh -W` ({1000 * base:.0f} ms)\n")
    for name in urls:
        median = statistics.median(taken[name])
        print(f"{name}  {1000 * median:6.1f} ms  x {median / base:.3f}")
    print("\ntarget    x 0.1")


async def _until_up(url: str, identity: Path) -> float:
    link = Link(url, to_site(parse(url), identity))
    up = asyncio.Event()

    def tell(event: LinkEvent) -> None:
        if isinstance(event, LinkUp):
            up.set()

    link.subscribe(tell)
    begun = time.perf_counter()
    task = asyncio.create_task(link.run())
    async with asyncio.timeout(20):
        await up.wait()
    taken = time.perf_counter() - begun
    task.cancel()
    await asyncio.wait([task])
    return taken


def _stock(lab: Lab, ssh: int) -> list[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    forward = ("-N", "-L", f"127.0.0.1:{port}:localhost:502", "-p", str(ssh), "127.0.0.1")
    return [*servers.ssh_options(lab), *forward]


def _pss(process: subprocess.Popen[bytes]) -> float:
    time.sleep(1.0)  # until it has settled
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return float(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])


def _wait_for(process: Process, words: str, count: int) -> None:
    end = time.monotonic() + 60
    while process.output().count(words) < count:
        if time.monotonic() > end:
            raise BenchError(f"{process.log.name} has not come to {count} times {words!r}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
