"""Every proof: what is converted, how it is decided and which run shows that it is not empty."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from systolith.proofs.admission import admission_config, dispatch, release, scheduling
from systolith.proofs.alignment import alignment, alignment_config
from systolith.proofs.conservation import conservation, conservation_config
from systolith.proofs.isolation import isolation, isolation_config
from systolith.proofs.substitute import Mutant
from systolith.proofs.swaps import no_overwrite, swap_config, swap_safety

__all__ = ["PROOFS", "Proof"]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One property on one geometry.

    Parameters
    ----------
    name
        Property and geometry.
    build
        Makes the RTLIL with the top module ``top``, faults planted if given.
    bound
        Cycles of a bounded proof; None if all runs are covered, by property-directed reachability.
    cover
        Cycles within which every cover statement is reached.
    """

    name: str
    build: Callable[[Iterable[Mutant]], str]
    bound: int | None
    cover: int

    @property
    def status(self) -> str:
        """As reports name it."""
        return "proved" if self.bound is None else f"bounded {self.bound}"


def _proof(
    name: str, build: Callable[[Iterable[Mutant]], str], *, cover: int, bound: int | None = None
) -> Proof:
    return Proof(name=name, build=build, bound=bound, cover=cover)


_NARROW_SWAPS = swap_config(rows=4, cols=2, tile=1)
_LONG_SWAPS = swap_config(rows=4, cols=2, tile=1, longest=3)
_SQUARE_SWAPS = swap_config(rows=4, cols=4, tile=2)
_NARROW = alignment_config(rows=4, cols=2, tile=1)
_LONG = alignment_config(rows=4, cols=2, tile=1, longest=3)
_SQUARE = alignment_config(rows=4, cols=4, tile=2, mac_latency=1, memory_latency=2)
_ISOLATION = isolation_config(rows=4, cols=4, tile=2, mac_latency=1)
_ADMISSION = admission_config()
_QUEUE = admission_config(bands=1)  # of no more bands than one, so its clock has fewer bits

PROOFS = {
    proof.name: proof
    for proof in (
        _proof("p1-swap-safety-4x2", lambda f: swap_safety(_NARROW_SWAPS, f), cover=16),
        _proof("p1-swap-safety-4x4", lambda f: swap_safety(_SQUARE_SWAPS, f), cover=16),
        _proof(
            "p1-swap-safety-4x2-long", lambda f: swap_safety(_LONG_SWAPS, f), cover=16, bound=22
        ),
        _proof("p2-no-overwrite-4x2", lambda f: no_overwrite(_NARROW_SWAPS, f), cover=16),
        _proof("p2-no-overwrite-4x4", lambda f: no_overwrite(_SQUARE_SWAPS, f), cover=16),
        _proof(
            "p2-no-overwrite-4x2-long", lambda f: no_overwrite(_LONG_SWAPS, f), cover=16, bound=22
        ),
        _proof("p3-p5-alignment-4x2", lambda f: alignment(_NARROW, f), cover=20),
        _proof("p3-p5-alignment-4x4", lambda f: alignment(_SQUARE, f), cover=24),
        _proof("p3-p5-alignment-4x2-long", lambda f: alignment(_LONG, f), cover=20, bound=22),
        _proof("p4-isolation-right", lambda f: isolation(_ISOLATION, (0, 1), f), cover=16),
        _proof("p4-isolation-lower", lambda f: isolation(_ISOLATION, (1, 0), f), cover=16),
        _proof("p4-isolation-corner", lambda f: isolation(_ISOLATION, (1, 1), f), cover=16),
        _proof(
            "p6-conservation",
            lambda f: conservation(conservation_config(band=2, tiles=2, max_m=3), f),
            cover=20,
        ),
        _proof("admission-dispatch", lambda f: dispatch(_ADMISSION, f), cover=20),
        _proof("admission-schedule", lambda f: scheduling(_ADMISSION, f), cover=22, bound=22),
        _proof("admission-release", lambda f: release(_QUEUE, f), cover=20),
    )
}
