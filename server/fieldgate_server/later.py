"""A reply that may come later: what a future of it has given, and one that stands for another."""

from __future__ import annotations

from asyncio import Future

from fieldgate_core.modbus import ExceptionCode, exception_pdu


def failed(code: int) -> bytes:
    """Give the reply to a request that failed on the way."""
    return exception_pdu(code, ExceptionCode.SERVER_DEVICE_FAILURE)


def result(done: Future[bytes]) -> bytes | None:
    """Give what a future that is done has given; None if it failed."""
    return None if done.cancelled() or done.exception() else done.result()


def settle(later: Future[bytes], reply: bytes | Future[bytes]) -> None:
    """Give a future its reply, which may be another future's."""
    if isinstance(reply, bytes):
        if not later.done():
            later.set_result(reply)
    else:
        reply.add_done_callback(lambda done: settle(later, result(done) or b""))
