"""A manager whose every beat is given: for bursts that well-behaved ones would not make."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

__all__ = ["Raw"]

_CHANNELS = ("aw", "w", "ar")


@dataclass
class Raw:
    """Drives the five channels of a bus, each at its own pace.

    Parameters
    ----------
    dut
        Design with the ports ``s_axi_...``, ``clk``.
    seed
        Of the gaps.
    rates
        Chance per cycle that something is offered on ``aw, w, ar`` or taken on ``b, r``.

    Attributes
    ----------
    queues
        What is still to be offered: fields without the prefix of the channel.
    taken
        What was transferred: cycle and fields.
    held
        Channels on which nothing is offered or taken.
    """

    dut: Any
    seed: int = 1
    rates: dict[str, float] = field(default_factory=dict)
    queues: dict[str, deque[dict[str, int]]] = field(
        default_factory=lambda: {c: deque() for c in _CHANNELS}
    )
    taken: dict[str, list[tuple[int, dict[str, int]]]] = field(
        default_factory=lambda: {c: [] for c in ("aw", "w", "ar", "b", "r")}
    )
    held: set[str] = field(default_factory=set)
    cycle: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.offered: dict[str, dict[str, int] | None] = dict.fromkeys(_CHANNELS)
        self.willing = {"b": False, "r": False}
        self.fields = {"b": ("id", "resp"), "r": ("id", "data", "resp", "last")}

    def start(self) -> None:
        """Run from now on."""
        cocotb.start_soon(self._run())

    def write(self, address: int, beats: list[tuple[int, int, int]], **more: int) -> None:
        """Queue a burst: data, strobes and mark of each beat; ``size`` and so on as given."""
        self.queues["aw"].append({"addr": address, "len": len(beats) - 1, "burst": 1, **more})
        for data, strb, last in beats:
            self.queues["w"].append({"data": data, "strb": strb, "last": last})

    def read(self, address: int, beats: int, **more: int) -> None:
        """Queue a burst."""
        self.queues["ar"].append({"addr": address, "len": beats - 1, "burst": 1, **more})

    async def until(self, channel: str, count: int, within: int = 20_000) -> None:
        """Wait until so many transfers have been made there in all."""
        end = self.cycle + within
        while len(self.taken[channel]) < count:
            if self.cycle > end:
                found = {name: len(list_) for name, list_ in self.taken.items()}
                raise AssertionError(f"only {found} after {within} cycles, not {count} {channel}")
            await RisingEdge(self.dut.clk)

    def _pin(self, name: str) -> Any:
        return getattr(self.dut, f"s_axi_{name}")

    def _may(self, channel: str) -> bool:
        return channel not in self.held and self.draw.random() < self.rates.get(channel, 1.0)

    async def _run(self) -> None:
        pins = {c: (self._pin(f"{c}valid"), self._pin(f"{c}ready")) for c in self.taken}
        edge = RisingEdge(self.dut.clk)
        while True:
            await edge
            self.cycle += 1
            for channel in _CHANNELS:
                now, (valid, ready) = self.offered[channel], pins[channel]
                if now is not None:
                    if not int(ready.value):
                        continue
                    self.taken[channel].append((self.cycle, now))
                    self.offered[channel] = now = None
                if self.queues[channel] and self._may(channel):
                    now = self.offered[channel] = self.queues[channel].popleft()
                    for name, value in now.items():
                        self._pin(f"{channel}{name}").value = value
                    valid.value = 1
                else:  # what is not valid is anything
                    valid.value = 0
                    if channel == "w":
                        self._pin("wlast").value = self.draw.getrandbits(1)
                        self._pin("wstrb").value = self.draw.getrandbits(4)
            for channel, names in self.fields.items():
                valid, ready = pins[channel]
                if self.willing[channel] and int(valid.value):
                    values = {n: int(self._pin(f"{channel}{n}").value) for n in names}
                    self.taken[channel].append((self.cycle, values))
                self.willing[channel] = self._may(channel)
                ready.value = int(self.willing[channel])
