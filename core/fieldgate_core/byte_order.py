"""The four orders in which the bytes of a value lie in its registers, by their letters; pure."""

from __future__ import annotations

ORDERS = ("ABCD", "DCBA", "BADC", "CDAB")
"""Big-endian; little-endian; bytes swapped in each register; registers in reverse (the low word first)."""
_FIRST_BYTE_FIRST = {"ABCD": "AB", "CDAB": "AB", "DCBA": "BA", "BADC": "BA"}


def in_one_register(order: str) -> str:
    """Give what an order means where there is one register: AB, or BA for swapped bytes."""
    return _FIRST_BYTE_FIRST.get(order, order)


def reorder(data: bytes, order: str) -> bytes:
    """Go from the wire's order to big-endian, or back: each order is its own inverse. `data` is whole registers."""
    match order:
        case "DCBA" | "BA":
            return data[::-1]
        case "BADC":
            return _swapped(data)
        case "CDAB":
            return _swapped(data[::-1])
        case _:
            return data


def _swapped(data: bytes) -> bytes:
    swapped = bytearray(data)
    swapped[::2], swapped[1::2] = data[1::2], data[::2]
    return bytes(swapped)
