"""From runs of streams to visits of rows: what waits in front of the banks of a model."""

from bisect import insort
from collections import deque
from collections.abc import Iterator

from systolith.memory.hbm.address_map import AddressMap
from systolith.memory.hbm.config import ControllerConfig

_STAGES = 2  # clocks that a visit spends in the walker, in which it is neither here nor there

__all__ = ["Places", "Requests", "Run", "Visit", "map_of"]


def map_of(config: ControllerConfig, number: int) -> AddressMap:
    """Return the address map of that number; ValueError if there is none."""
    if not 0 <= number < len(config.maps):
        raise ValueError(f"address_map must be in 0..{len(config.maps) - 1}, not {number!r}")
    return config.maps[number]


class Places:
    """Banks, rows and columns of linear addresses, by tables: maps are exclusive ors of bits.

    Parameters
    ----------
    config
        Of the controller.
    address_map
        One of its maps.
    """

    _TABLE_BITS = 12

    def __init__(self, config: ControllerConfig, address_map: AddressMap) -> None:
        self._config, self._map = config, address_map
        self._columns, self._banks = config.organisation.columns, config.banks
        self._mask = (1 << config.atom_bits) - 1
        step = self._TABLE_BITS
        self._tables = [self._table(low) for low in range(0, config.atom_bits, step)]

    def _table(self, low: int) -> list[int]:
        table = [0]
        for bit in range(low, min(low + self._TABLE_BITS, self._config.atom_bits)):
            at = self._map.place(1 << bit)
            place = at.row * self._banks + self._config.bank_number(at)
            table += [known ^ (place * self._columns + at.column) for known in table]
        return table

    def find(self, atom: int) -> tuple[int, int, int]:
        """Number of the bank, row and column of an atom; addresses wrap."""
        atom, place = atom & self._mask, 0
        for table in self._tables:
            place ^= table[atom % len(table)]
            atom >>= self._TABLE_BITS
        rest, column = divmod(place, self._columns)
        row, bank = divmod(rest, self._banks)
        return bank, row, column


class Run:
    """A run of a stream, and how far it is.

    ``atom``, ``left``, ``bank``, ``row``, ``column`` are those of its next access; ``turn`` is
    negative until the walker takes it up.
    """

    __slots__ = ("atom", "bank", "column", "left", "row", "since", "stream", "turn", "write")

    def __init__(self, stream: int, write: bool, atom: int, count: int, since: int) -> None:
        self.stream, self.write, self.atom, self.left = stream, write, atom, count
        self.since = since
        self.turn = -1
        self.bank = self.row = self.column = 0


class Visit:
    """Accesses of one stream to one row of a bank.

    ``due`` is the number of atoms that the walker passed before its first.
    """

    __slots__ = ("bank", "due", "left", "owner", "row")

    def __init__(self, bank: int, row: int, owner: int, left: int, due: int) -> None:
        self.bank, self.row, self.owner, self.left, self.due = bank, row, owner, left, due


class Requests:
    """Runs of every stream, the walker that goes through them in rotation, visits of every bank.

    Parameters
    ----------
    config
        Of the controller.
    address_map
        One of its maps.
    """

    def __init__(self, config: ControllerConfig, address_map: AddressMap) -> None:
        self.places = Places(config, address_map)
        self.queues: list[deque[Visit]] = [deque() for _ in range(config.banks)]
        self.heads: list[Run] = []  # oldest turn first
        self.waiting: list[deque[Run]] = [deque() for _ in range(config.streams)]
        shape = config.organisation
        self._block = shape.groups * shape.columns
        self._below, self._groups = address_map.below, shape.groups
        self._depth = config.visits + 2  # the first and the last are outside of the memory
        self._row = shape.columns  # of which less is left of a visit that is made longer
        self._unwalked: list[deque[Run]] = [deque() for _ in range(config.streams)]
        self._todo = 0
        self._visits: Iterator[Visit] = iter(())
        self._visit: Visit | None = None
        self._stages: deque[Visit | None] = deque([None] * _STAGES)
        self._stream = config.streams - 1
        self._turn = 0
        self._walked = 0
        self._issued = 0
        self._ahead = config.ahead
        self._arriving: list[Run] = []  # seen by the walker in the clock after the next one

    def submit(self, run: Run) -> None:
        """Take a run of a stream."""
        self.waiting[run.stream].append(run)
        self._arriving.append(run)
        run.bank, run.row, run.column = self.places.find(run.atom)

    def advance(self, run: Run) -> bool:
        """Count an access of a head, and tell whether it was the last of its run."""
        queue = self.queues[run.bank]
        self._issued += 1
        queue[0].left -= 1
        if not queue[0].left:
            queue.popleft()
        run.atom += 1
        run.left -= 1
        if run.left:
            run.bank, run.row, run.column = self.places.find(run.atom)
            return False
        waiting = self.waiting[run.stream]
        waiting.popleft()
        self.heads.remove(run)
        if waiting and waiting[0].turn >= 0:
            self._head(waiting[0])
        return True

    def _head(self, run: Run) -> None:
        insort(self.heads, run, key=lambda r: r.turn)

    def walk(self) -> bool:
        """Emit one visit, if there is one and its bank has room; tell whether it did."""
        done = self._walk()
        for run in self._arriving:
            self._unwalked[run.stream].append(run)
            self._todo += 1
        self._arriving.clear()
        return done

    def _walk(self) -> bool:
        if self._stages[0] is not None and not self._append(self._stages[0]):
            return False
        done = self._stages.popleft() is not None
        visit = self._visit
        if visit is None and self._todo:
            visit = self._begin()
        self._stages.append(visit)
        self._visit = None if visit is None else next(self._visits, None)
        return done

    def _append(self, visit: Visit) -> bool:
        """Put a visit in front of its bank, if there is room; tell whether it is there."""
        queue = self.queues[visit.bank]
        last = queue[-1] if queue else None
        if (
            last is not None
            and (last.owner, last.row) == (visit.owner, visit.row)
            and last.left < self._row
        ):
            last.left += visit.left
        elif len(queue) < self._depth:
            queue.append(visit)
        else:
            return False
        return True

    def _begin(self) -> Visit | None:
        """Take up the first run of the next stream that may have its turn.

        Streams of which nothing has been taken up go first; the others have to wait until few
        atoms are under way.
        """
        streams = len(self._unwalked)
        order = [(self._stream + 1 + k) % streams for k in range(streams)]
        able = [n for n in order if self._unwalked[n]]
        fresh = [n for n in able if self.waiting[n][0] is self._unwalked[n][0]]
        if not fresh and self._walked - self._issued >= self._ahead:
            return None
        self._stream = (fresh or able)[0]
        run = self._unwalked[self._stream].popleft()
        self._todo -= 1
        run.turn = self._turn
        self._turn += 1
        if self.waiting[run.stream][0] is run:
            self._head(run)
        self._visits = self._cut(run.stream, run.atom, run.atom + run.left)
        return next(self._visits)

    def _cut(self, stream: int, low: int, end: int) -> Iterator[Visit]:
        """Visits of a run: of each block the bank groups, in the order of their first atoms."""
        while low < end:
            high = min(end, (low // self._block + 1) * self._block)
            groups: dict[int, list[int]] = {}
            for atom in range(low, high):
                groups.setdefault((atom >> self._below) % self._groups, []).append(atom)
            for atoms in groups.values():
                bank, row, _ = self.places.find(atoms[0])
                yield Visit(bank, row, stream, len(atoms), self._walked + atoms[0] - low)
            self._walked += high - low
            low = high
