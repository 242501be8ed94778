"""Tables of the codes that correct one wrong bit of a word and detect two."""

from dataclasses import dataclass
from functools import cache
from itertools import combinations

__all__ = ["ATOM_KINDS", "AtomEcc", "EccCode", "hsiao"]

_MOST_CHECK_BITS = 11  # tables of 2**11 syndromes; enough for 1013 data bits
_LEAST_CHECK_BITS = 3


def _most_data(check_bits: int) -> int:
    """As many as there are words of odd weight 3 or more."""
    return (1 << check_bits - 1) - check_bits


@cache
def _columns(data_bits: int, check_bits: int) -> tuple[int, ...]:
    """Syndrome of each data bit.

    Greedy. All columns of weight 3 come before the first of weight 5, and so on, which makes the
    number of ones as small as it can be. Among the unused ones of a weight the next is that whose
    rows have the fewest ones so far; of several, the smallest number. So the columns of a code
    are the first ones of every longer code with as many check bits.
    """
    ones = [0] * check_bits
    columns: list[int] = []
    for weight in range(3, check_bits + 1, 2):
        unused = {
            sum(1 << row for row in rows): rows for rows in combinations(range(check_bits), weight)
        }
        while unused and len(columns) < data_bits:
            column = min(unused, key=lambda c: (sum(ones[row] for row in unused[c]), c))
            for row in unused.pop(column):
                ones[row] += 1
            columns.append(column)
    return tuple(columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class EccCode:
    """Odd-weight-column code: one error is corrected, two are detected.

    The check bits of a word are ``H d ^ invert`` over GF(2) for the matrix ``H`` of
    :attr:`columns`; the syndrome of a received word is the difference of its check bits and
    those. Each error adds the column of its bit to the syndrome, that of check bit ``i`` being
    ``1 << i``. All columns are distinct and of odd weight: one error gives its own column, two
    an even weight other than zero. This is the code of M. Y. Hsiao, "A class of optimal minimum
    odd-weight-column SEC-DED codes", IBM J. Res. Dev. 14 (1970). Ones are as few as possible,
    which is size, and :attr:`row_weights` as equal as a greedy choice makes them, which is depth:
    they differ by at most 1 in each of (72,64), (266,256), (39,32) and (22,16).

    Parameters
    ----------
    data_bits
        Of a word; at most ``2 ** (check_bits - 1) - check_bits``.
    check_bits
        Beside them, 3 to 11.
    inverted
        Store some check bits inverted, see :attr:`invert`.

    Raises
    ------
    ValueError
        If there is no such code.
    """

    data_bits: int
    check_bits: int
    inverted: bool = False

    def __post_init__(self) -> None:
        low, high = _LEAST_CHECK_BITS, _MOST_CHECK_BITS
        if not low <= self.check_bits <= high:
            raise ValueError(
                f"EccCode.check_bits must be in {low}..{high}, not {self.check_bits!r}"
            )
        most = _most_data(self.check_bits)
        if not 1 <= self.data_bits <= most:
            raise ValueError(
                f"EccCode.data_bits must be in 1..{most} with {self.check_bits} check bits, "
                f"not {self.data_bits!r}"
            )
        if self.inverted and self.data_bits == most - 1:
            # All words of odd weight add up to 0, so what the columns lack is their own sum: the
            # one syndrome left for a word of ones, and only without a mask.
            raise ValueError(
                f"EccCode.inverted must be False with {self.data_bits} data bits and "
                f"{self.check_bits} check bits, not True"
            )

    @property
    def name(self) -> str:
        """As part of a module's name: no two codes share it."""
        return f"{self.bits}_{self.data_bits}{'_inverted' if self.inverted else ''}"

    @property
    def bits(self) -> int:
        """Bits of a stored word."""
        return self.data_bits + self.check_bits

    @property
    def columns(self) -> tuple[int, ...]:
        """Syndrome of each bit of a word if it alone is wrong: data bits, then check bits."""
        return _columns(self.data_bits, self.check_bits) + tuple(
            1 << row for row in range(self.check_bits)
        )

    @property
    def rows(self) -> tuple[int, ...]:
        """Data bits, as a mask, whose parity is each check bit."""
        data = self.columns[: self.data_bits]
        return tuple(
            sum((column >> row & 1) << i for i, column in enumerate(data))
            for row in range(self.check_bits)
        )

    @property
    def row_weights(self) -> tuple[int, ...]:
        """Bits that decide each bit of the syndrome, the check bit itself among them."""
        return tuple(row.bit_count() + 1 for row in self.rows)

    @property
    def invert(self) -> int:
        """Check bits that are stored inverted, as a mask: 0 unless the code is ``inverted``.

        A word of zeros has the syndrome ``invert``, a word of ones that differs from it by the
        sum of all columns. With the smallest mask that makes neither 0 nor a column, both are
        uncorrectable: a memory that answers all zeros or all ones is never taken for data. The
        mask inverts check bits 0 and 5 of (39,32), and 0 and 1 of the others named above.
        """
        if not self.inverted:
            return 0
        ones = 0
        for column in self.columns:
            ones ^= column
        correct = {0, *self.columns}
        return next(
            mask for mask in range(1 << self.check_bits) if not {mask, mask ^ ones} & correct
        )


def hsiao(data_bits: int, check_bits: int | None = None, *, inverted: bool = False) -> EccCode:
    """Code for words of ``data_bits``, with as few check bits as possible unless told otherwise.

    Raises
    ------
    ValueError
        See :class:`EccCode`.
    """
    if check_bits is None:
        check_bits = _LEAST_CHECK_BITS
        while _most_data(check_bits) < data_bits and check_bits < _MOST_CHECK_BITS:
            check_bits += 1
    return EccCode(data_bits=data_bits, check_bits=check_bits, inverted=inverted)


ATOM_KINDS = ("sideband-72", "word-266-poison")


@dataclass(frozen=True, kw_only=True, slots=True)
class AtomEcc:
    """What is stored beside an atom of 32 bytes: check bits and whether it is poisoned.

    In each word one error is corrected and two are detected, in the poison as in the data. A
    poisoned atom is uncorrectable on every read, and stays so with any two errors; no two errors
    make a good one poisoned.

    ``"sideband-72"``, HBM2 and HBM2E
        Four words of (72,64), one per beat: word ``w`` has data bits ``64 w`` and up, and check
        bits ``8 w`` and up. There is no room for a bit of poison, so the check bits of all words
        differ from the right ones by :attr:`mark`, an odd syndrome that no single error has. An
        error makes it even, and not zero: uncorrectable still. Two in one word make it odd again,
        and may look like one error there; the other three words are marked as before.
    ``"word-266-poison"``, HBM3
        One word of (266,256), and bit 10, the poison: a data bit of the code as well, the last of
        (267,257). That is the same word while the poison is 0, and protects the poison too.

    The codes are inverted: a dead memory is uncorrectable, and not poisoned.

    Parameters
    ----------
    kind
        One of :data:`ATOM_KINDS`.

    Raises
    ------
    ValueError
        If there is no such kind.
    """

    kind: str = "sideband-72"

    def __post_init__(self) -> None:
        if self.kind not in ATOM_KINDS:
            raise ValueError(
                f"AtomEcc.kind must be one of {', '.join(ATOM_KINDS)}, not {self.kind!r}"
            )

    @property
    def data_bits(self) -> int:
        """Of an atom."""
        return 256

    @property
    def check_bits(self) -> int:
        """Stored beside them, the poison included."""
        return self.words * self.code.bits - self.data_bits

    @property
    def poison_bit(self) -> bool:
        """Whether poison is a data bit of the code, and not a mark on the check bits."""
        return self.kind == "word-266-poison"

    @property
    def words(self) -> int:
        """Code words of an atom."""
        return 1 if self.poison_bit else 4

    @property
    def code(self) -> EccCode:
        """Of each word."""
        return hsiao(self.data_bits // self.words + self.poison_bit, inverted=True)

    @property
    def mark(self) -> int:
        """Syndrome of each word of a poisoned atom; 0 if there is a bit for it."""
        if self.poison_bit:
            return 0
        code = self.code
        odd = (s for s in range(1 << code.check_bits) if s.bit_count() & 1)
        return next(s for s in odd if s not in code.columns)
