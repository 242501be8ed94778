"""What the self-test of an SDR memory does, pass by pass."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as config_dataclass

from systolith.array.geometry import STRICT, power_of_two
from systolith.memory.hbm.config import ControllerConfig

__all__ = ["Pass", "SelfTestConfig"]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A part of the test.

    Parameters
    ----------
    streams, writes
        A bit for each stream: whether it takes part, whether it writes.
    random
        Runs are anywhere; else one stream goes through the memory.
    count, runs
        Atoms of a run; runs.
    inverted
        The data is the complement of the first passes'.
    rest
        The memory is left alone afterwards.
    """

    streams: int = 1
    writes: int
    random: bool = False
    count: int
    runs: int
    inverted: bool
    rest: bool = False


@config_dataclass(frozen=True, kw_only=True, config=STRICT)
class SelfTestConfig:
    """Sizes of a self-test.

    Parameters
    ----------
    controller
        Of the memory. All its streams take part in the mixed traffic.
    run
        Atoms of a run that goes through the memory, and of the longer mixed ones at most.
    mixed
        Runs of each of the two passes of mixed traffic.
    rest_us
        Microseconds between writing all of the memory and reading it. Without refresh most cells
        still hold their data after a second; several tell.
    power_up_us, outside
        See :class:`~systolith.memory.sdr.pins.SdrPins`.
    """

    controller: ControllerConfig
    run: Annotated[int, Field(strict=True, ge=1, le=1024)] = 64
    mixed: Annotated[int, Field(strict=True, ge=1, lt=1 << 24)] = 1 << 18
    rest_us: Annotated[int, Field(strict=True, ge=0, le=60_000_000)] = 4_000_000
    power_up_us: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 200
    outside: Annotated[int, Field(strict=True, ge=0, le=8)] = 0

    @model_validator(mode="after")
    def _check(self) -> "SelfTestConfig":
        power_of_two(self, "run")
        if self.controller.streams < 2:
            raise ValueError(
                f"controller.streams must be at least 2, not {self.controller.streams}"
            )
        most = min(self.controller.turn, self.atoms)
        if self.run > most:
            raise ValueError(f"run must be at most {most}, not {self.run}")
        return self

    @property
    def atoms(self) -> int:
        """Of the memory."""
        return 1 << self.controller.atom_bits

    @property
    def rest_cycles(self) -> int:
        """Clocks of ``rest_us``."""
        return self.rest_us * 1_000_000 // self.controller.timing.tck_ps

    @property
    def passes(self) -> tuple[Pass, ...]:
        """All of the test, in order."""
        return (
            self._through(write=True),
            self._through(write=False),
            self._through(write=True, inverted=True),
            self._through(write=False, inverted=True),
            self._anywhere(1),
            self._anywhere(min(self.run, 16)),
            self._through(write=False, inverted=True),
        )

    def _through(self, *, write: bool, inverted: bool = False) -> Pass:
        runs = self.atoms // self.run
        return Pass(writes=int(write), count=self.run, runs=runs, inverted=inverted, rest=write)

    def _anywhere(self, count: int) -> Pass:
        every = range(self.controller.streams)
        return Pass(
            streams=sum(1 << n for n in every),
            writes=sum(1 << n for n in every[::2]),
            random=True,
            count=count,
            runs=self.mixed,
            inverted=True,
        )
