"""What a device must answer, by MODBUS Application Protocol V1.1b3, in plain lists; shares no code with fieldgate."""

from __future__ import annotations

from dataclasses import dataclass, field

Bits = list[int]
Words = list[int]


class Refused(Exception):  # noqa: N818 - it is an answer
    """The exception code of an answer."""

    def __init__(self, code: int) -> None:
        self.code = code


@dataclass
class Oracle:
    """One unit: `packed` makes its coils the bits of the holding registers, 16 each, for the first 4096 of them.

    Tables may be one and the same list; `coils` and `discrete` are empty where they are packed.
    """

    holding: Words
    input: Words
    coils: Bits = field(default_factory=list)
    discrete: Bits = field(default_factory=list)
    packed: bool = False
    files: dict[int, Words] = field(default_factory=dict)

    def answer(self, pdu: bytes) -> bytes:
        """Give the reply PDU to a request PDU of functions 1 to 6, 15, 16 and 20 to 24; 01 for any other."""
        try:
            return bytes((pdu[0], *self._answer(pdu[0], list(pdu[1:]))))
        except Refused as refused:
            return bytes((pdu[0] | 0x80, refused.code))

    def _answer(self, function: int, body: list[int]) -> list[int]:
        match function:
            case 1 | 2:
                return self._read_bits(function, body)
            case 3 | 4:
                return self._read_words(self.holding if function == 3 else self.input, body)
            case 5 | 15:
                return self._write_bits(function, body)
            case 6 | 16:
                return self._write_words(function, body)
            case 20:
                return self._read_files(body)
            case 21:
                return self._write_files(body)
            case 22:
                return self._mask(body)
            case 23:
                return self._write_and_read(body)
            case 24:
                return self._queue(body)
        raise Refused(1)

    def _read_bits(self, function: int, body: list[int]) -> list[int]:
        """6.1, 6.2."""
        right(len(body) == 4)
        first, count = words(body)
        right(1 <= count <= 2000)
        there(first, count, self._bit_count(function))
        sent = [0] * ((count + 7) // 8)
        for number in range(count):
            if self._bit(function, first + number):
                sent[number // 8] += 1 << number % 8
        return [len(sent), *sent]

    def _read_words(self, table: Words, body: list[int]) -> list[int]:
        """6.3, 6.4."""
        right(len(body) == 4)
        first, count = words(body)
        right(1 <= count <= 125)
        there(first, count, len(table))
        return [2 * count, *octets(table[first : first + count])]

    def _write_bits(self, function: int, body: list[int]) -> list[int]:
        """6.5, 6.11."""
        right(len(body) >= 4)
        first, what = words(body[:4])
        if function == 5:
            right(len(body) == 4)
            right(what in {0x0000, 0xFF00})
            new = [1 if what else 0]
        else:
            right(len(body) >= 5)
            right(1 <= what <= 1968)
            right(len(body) - 5 == body[4] == (what + 7) // 8)
            new = [body[5 + number // 8] // (1 << number % 8) % 2 for number in range(what)]
        there(first, len(new), self._bit_count(1))
        for number, bit in enumerate(new):
            self._set_bit(first + number, bit)
        return body[:4]

    def _write_words(self, function: int, body: list[int]) -> list[int]:
        """6.6, 6.12."""
        right(len(body) >= 4)
        first, what = words(body[:4])
        if function == 6:
            right(len(body) == 4)
            new = [what]
        else:
            right(len(body) >= 5)
            right(1 <= what <= 123)
            right(len(body) - 5 == body[4] == 2 * what)
            new = words(body[5:])
        there(first, len(new), len(self.holding))
        self.holding[first : first + len(new)] = new
        return body[:4]

    def _mask(self, body: list[int]) -> list[int]:
        """6.16."""
        right(len(body) == 6)
        at, and_mask, or_mask = words(body)
        there(at, 1, len(self.holding))
        old = self.holding[at]
        # "Result = (Current Contents AND And_Mask) OR (Or_Mask AND (NOT And_Mask))", bit by bit
        bits = [((old if and_mask >> bit & 1 else or_mask) >> bit & 1) << bit for bit in range(16)]
        self.holding[at] = sum(bits)
        return body

    def _write_and_read(self, body: list[int]) -> list[int]:
        """6.17: "The write operation is performed before the read"."""
        right(len(body) >= 9)
        read_first, read_count, write_first, write_count = words(body[:8])
        right(1 <= read_count <= 125 and 1 <= write_count <= 121)
        right(len(body) - 9 == body[8] == 2 * write_count)
        there(read_first, read_count, len(self.holding))
        there(write_first, write_count, len(self.holding))
        self.holding[write_first : write_first + write_count] = words(body[9:])
        return [2 * read_count, *octets(self.holding[read_first : read_first + read_count])]

    def _queue(self, body: list[int]) -> list[int]:
        """6.18: "If the queue count exceeds 31, an exception response is returned with an error code of 03"."""
        right(len(body) == 2)
        (at,) = words(body)
        there(at, 1, len(self.holding))
        count = self.holding[at]
        right(count <= 31)
        there(at, 1 + count, len(self.holding))
        return octets([2 + 2 * count, count, *self.holding[at + 1 : at + 1 + count]])

    def _read_files(self, body: list[int]) -> list[int]:
        """6.14."""
        right(len(body) >= 1 and len(body) - 1 == body[0])
        right(7 <= body[0] <= 0xF5 and body[0] % 7 == 0)
        asked = [(body[at], *words(body[at + 1 : at + 7])) for at in range(1, len(body), 7)]
        right(all(count > 0 for _, _, _, count in asked))
        # the whole reply, function and byte count included, fits into 253 bytes
        right(2 + sum(2 + 2 * count for _, _, _, count in asked) <= 253)
        sent: list[int] = []
        for reference, file, record, count in asked:
            found = self._records(reference, file, record, count)
            sent += [1 + 2 * count, 6, *octets(found)]
        return [len(sent), *sent]

    def _write_files(self, body: list[int]) -> list[int]:
        """6.15."""
        right(len(body) >= 1 and len(body) - 1 == body[0])
        right(9 <= body[0] <= 0xFB)
        told = []
        rest = body[1:]
        while rest:
            right(len(rest) >= 9)
            file, record, count = words(rest[1:7])
            right(1 <= count <= (len(rest) - 7) // 2)
            told.append((rest[0], file, record, words(rest[7 : 7 + 2 * count])))
            rest = rest[7 + 2 * count :]
        for reference, file, record, new in told:
            self._records(reference, file, record, len(new))
        for _, file, record, new in told:
            self.files[file][record : record + len(new)] = new
        return body

    def _records(self, reference: int, file: int, record: int, count: int) -> Words:
        if reference != 6 or file not in self.files:
            raise Refused(2)
        there(record, count, len(self.files[file]))
        return self.files[file][record : record + count]

    def _bit_count(self, function: int) -> int:
        if self.packed:
            return 16 * min(len(self.holding), 4096)
        return len(self.coils if function == 1 else self.discrete)

    def _bit(self, function: int, at: int) -> int:
        if self.packed:
            return (self.holding[at // 16] >> at % 16) % 2
        return (self.coils if function == 1 else self.discrete)[at]

    def _set_bit(self, at: int, bit: int) -> None:
        if self.packed:
            self.holding[at // 16] += (bit - self._bit(1, at)) << at % 16
        else:
            self.coils[at] = bit


def right(condition: bool) -> None:
    """Refuse a request that is malformed: 03."""
    if not condition:
        raise Refused(3)


def there(first: int, count: int, size: int) -> None:
    """Refuse cells that are not there: 02."""
    if first + count > size:
        raise Refused(2)


def words(data: list[int]) -> Words:
    """Read 16-bit numbers, the high byte first."""
    return [256 * data[at] + data[at + 1] for at in range(0, len(data), 2)]


def octets(numbers: Words) -> list[int]:
    """Write 16-bit numbers, the high byte first."""
    return [part for number in numbers for part in divmod(number, 256)]
