"""The two ports that the memory system is made of: to large memory, and to a scratchpad."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct

__all__ = ["LocalPort", "MemoryPort"]


class MemoryPort(wiring.Signature):
    """Requests for consecutive atoms of large memory, seen from who asks.

    Requests are carried out in order. A read that is asked for after ``done`` of a write sees it,
    whichever port asks; so does a later read of the same port. Either side may wait at any time,
    and neither ``valid`` ever waits for a ``ready``. A request of no atoms or outside of the
    memory is never sent: who asks checks, or a :class:`~systolith.memory.port_guard.PortGuard`.

    Parameters
    ----------
    atom
        Bytes of an atom, a power of two.
    atom_bits
        Bits of an atom's address.
    count_bits
        Bits of a number of atoms.

    Members
    -------
    request : Out(stream)
        ``write``, ``atom``: address of the first one, ``count``: number of atoms, at least 1.
    write : Out(stream)
        Atoms of the writes in order, before or after their request: ``data``, a bit of ``mask``
        for every byte that is written, ``poison`` if the data is known to be bad.
    read : In(stream)
        Atoms of the reads in order: ``data``, ``error`` if it is not to be used (lost, poisoned,
        or beyond correction), ``last`` with the last atom of a request.
    done, refused : In(1), In(1)
        One cycle for every write request, in order, once it is visible; with it, whether some of
        its atoms were not written. Large memory writes them all, a scratchpad may not.
    """

    def __init__(self, *, atom: int, atom_bits: int, count_bits: int) -> None:
        self.atom = atom
        self.atom_bits = atom_bits
        self.count_bits = count_bits
        super().__init__(
            {
                "request": Out(stream.Signature(self.request_layout)),
                "write": Out(stream.Signature(self.write_layout)),
                "read": In(stream.Signature(self.read_layout)),
                "done": In(1),
                "refused": In(1),
            }
        )

    @property
    def request_layout(self) -> data.StructLayout:
        """Payload of ``request``."""
        return PackedStruct({"write": 1, "atom": self.atom_bits, "count": self.count_bits})

    @property
    def write_layout(self) -> data.StructLayout:
        """Payload of ``write``."""
        return PackedStruct({"data": 8 * self.atom, "mask": self.atom, "poison": 1})

    @property
    def read_layout(self) -> data.StructLayout:
        """Payload of ``read``."""
        return PackedStruct({"data": 8 * self.atom, "error": 1, "last": 1})


class LocalPort(wiring.Signature):
    """Words of a scratchpad, seen from who asks: one request a cycle, answered in order.

    Parameters
    ----------
    bytes
        Of a word, a power of two.
    address_bits
        Bits of a word's address, over all banks.

    Members
    -------
    request : Out(stream)
        ``write``, ``address``, ``data``, a bit of ``mask`` for every byte that is written, and
        ``poison`` if the data is known to be bad.
    response : In
        ``valid, data, error, refused``: one for every request, of writes too, in order. There is
        no way to wait for it: who asks keeps room. ``error``: the word is beyond correction.
        ``refused``: the address is not to be accessed now, or the mask is not allowed; nothing
        was done.
    """

    def __init__(self, *, bytes: int, address_bits: int) -> None:
        self.bytes = bytes
        self.address_bits = address_bits
        super().__init__(
            {
                "request": Out(stream.Signature(self.request_layout)),
                "response": In(self.response_layout),
            }
        )

    @property
    def request_layout(self) -> data.StructLayout:
        """Payload of ``request``."""
        return PackedStruct(
            {
                "write": 1,
                "address": self.address_bits,
                "data": 8 * self.bytes,
                "mask": self.bytes,
                "poison": 1,
            }
        )

    @property
    def response_layout(self) -> data.StructLayout:
        """Of ``response``."""
        return PackedStruct({"valid": 1, "data": 8 * self.bytes, "error": 1, "refused": 1})
