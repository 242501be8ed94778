"""Operations and outcomes of descriptors."""

from enum import IntEnum

__all__ = ["DmaCode", "DmaOp"]


class DmaOp(IntEnum):
    """What a descriptor asks for. Zero, what cleared memory reads as, is none of them."""

    LOAD = 1
    STORE = 2
    GATHER = 3
    APPEND = 4
    FILL = 5
    FENCE = 6

    @property
    def meaning(self) -> str:
        """What it does, in one sentence."""
        return _OPS[self]


_OPS = {
    DmaOp.LOAD: "large memory to scratchpad, a box of up to three strides on either side",
    DmaOp.STORE: "scratchpad to large memory, a box of up to three strides on either side",
    DmaOp.GATHER: "tokens of a sequence that is kept in pages, to the scratchpad",
    DmaOp.APPEND: "scratchpad to tokens of a sequence that is kept in pages",
    DmaOp.FILL: "a repeated word of 32 bits to a box of the scratchpad",
    DmaOp.FENCE: "nothing; it waits for all before it, and all behind it wait for it",
}


class DmaCode(IntEnum):
    """Outcome of a descriptor, or of a list. Of several that apply, the first in this order.

    Those up to ``TABLE_RANGE`` mean that there was no access at all.
    """

    OK = 0
    BAD_OP = 1
    RESERVED = 2
    ZERO_COUNT = 3
    BAD_REGION = 4
    NO_RIGHT = 5
    MEMORY_RANGE = 6
    LOCAL_RANGE = 7
    TABLE_RANGE = 8
    STOPPED = 9
    TIMEOUT = 10
    DISORDER = 11
    BAD_TABLE = 12
    BAD_PAGE = 13
    REFUSED = 14
    POISONED = 15
    MISALIGNED = 16
    BAD_NEXT = 17
    TOO_LONG = 18
    BAD_FETCH = 19

    @property
    def meaning(self) -> str:
        """What went wrong, in one sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    DmaCode.OK: "all atoms were moved, and those in large memory are visible",
    DmaCode.BAD_OP: "there is no such operation",
    DmaCode.RESERVED: "a reserved bit is set, or a field is larger than this engine takes",
    DmaCode.ZERO_COUNT: "a count is zero",
    DmaCode.BAD_REGION: "there is no such region, or it is one of the other space",
    DmaCode.NO_RIGHT: "the region is not to be read, or not to be written",
    DmaCode.MEMORY_RANGE: "an atom of the box is outside of its region of large memory",
    DmaCode.LOCAL_RANGE: "a word of the box is outside of its region of the scratchpad",
    DmaCode.TABLE_RANGE: "a page number that is needed is outside of the region of the table",
    DmaCode.STOPPED: "the engine is stopped after a timeout or disorder; nothing was done",
    DmaCode.TIMEOUT: "memory or scratchpad did not answer in time; part of it may have been done",
    DmaCode.DISORDER: "an answer of the memory was lost or added; what was moved is not to be used",
    DmaCode.BAD_TABLE: "the page table could not be read; atoms before were moved",
    DmaCode.BAD_PAGE: "a page is outside of the region; atoms of the pages before were moved",
    DmaCode.REFUSED: "the scratchpad refused words; the others were moved",
    DmaCode.POISONED: "all atoms were moved, some as poison",
    DmaCode.MISALIGNED: "list: the address is not a multiple of the size of a descriptor",
    DmaCode.BAD_NEXT: "list: the address is outside of the region of lists, or not to be read",
    DmaCode.TOO_LONG: "list: it did not end within the most descriptors; it may be a loop",
    DmaCode.BAD_FETCH: "list: a descriptor could not be read; those before it were carried out",
}
