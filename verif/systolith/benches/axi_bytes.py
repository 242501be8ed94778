"""What an AXI4 memory has to answer, byte by byte, from the text of the standard."""

from dataclasses import dataclass, field

__all__ = ["AxiBytes", "Burst"]

FIXED, INCR, WRAP = 0, 1, 2
OKAY, SLVERR, DECERR = 0, 2, 3


@dataclass(frozen=True)
class Burst:
    """An address, and for a write its beats: data, strobes, mark."""

    address: int
    length: int
    size: int
    kind: int = INCR
    tag: int = 0
    lock: int = 0
    beats: tuple[tuple[int, int, int], ...] = ()

    def fields(self) -> dict[str, int]:
        """Of the address channel."""
        return {
            "id": self.tag,
            "addr": self.address,
            "len": self.length - 1,
            "size": self.size,
            "burst": self.kind,
            "lock": self.lock,
        }


@dataclass
class AxiBytes:
    """A memory of bytes. What was never written, or may have been written, is not known.

    Parameters
    ----------
    capacity, lanes
        Bytes of the memory and of a beat.
    """

    capacity: int
    lanes: int
    known: dict[int, int] = field(default_factory=dict)

    def refused(self, burst: Burst) -> int:
        """The answer to a burst that is not carried out, else OKAY."""
        number = 1 << burst.size
        if burst.address >= self.capacity:
            return DECERR
        if number > self.lanes or burst.kind not in (INCR, WRAP):
            return SLVERR
        if burst.kind == WRAP:
            fits = burst.length in (2, 4, 8, 16) and burst.address % number == 0
            return OKAY if fits else SLVERR
        last = burst.address // number * number + number * burst.length - 1
        return OKAY if last // 4096 == burst.address // 4096 else SLVERR

    def places(self, burst: Burst) -> list[range]:
        """Bytes of each beat."""
        number = 1 << burst.size
        at, found = burst.address, []
        whole = number * burst.length
        low = burst.address // whole * whole if burst.kind == WRAP else 0
        for _ in range(burst.length):
            start = at // number * number
            found.append(range(at, start + number))
            at = start + number
            if burst.kind == WRAP and at == low + whole:
                at = low
        return found

    def write(self, burst: Burst) -> int:
        """Carry out a write; its answer."""
        answer = self.refused(burst)
        taken = []
        for beat in burst.beats[: burst.length]:
            taken.append(beat)
            if beat[2]:
                break
        if answer:
            return answer
        for place, (data, strobes, _) in zip(self.places(burst), taken, strict=False):
            for byte in place:
                lane = byte % self.lanes
                if strobes >> lane & 1:
                    self.known[byte] = data >> 8 * lane & 255
        marked = len(taken) == burst.length and taken[-1][2]
        return OKAY if marked else SLVERR

    def wrong(self, burst: Burst, beats: list[dict[str, int]]) -> str:
        """What is wrong with the answer to a read, or nothing."""
        answer = self.refused(burst)
        if len(beats) != burst.length:
            return f"{burst}: {len(beats)} beats"
        places = self.places(burst) if not answer else [range(0)] * burst.length
        for n, (beat, place) in enumerate(zip(beats, places, strict=True)):
            if beat["resp"] != answer or beat["id"] != burst.tag:
                return f"{burst}: beat {n} is {beat}, not {answer}"
            if answer and beat["data"]:
                return f"{burst}: beat {n} of a burst that is refused has data"
            for byte in place:
                found = beat["data"] >> 8 * (byte % self.lanes) & 255
                if self.known.get(byte, found) != found:
                    return f"{burst}: beat {n}, byte {byte:#x}"
        return ""
