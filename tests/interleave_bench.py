"""Play requests on an interleaved memory, next to a plain array of bytes."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.devices.port_memory import PortMemory
from systolith.devices.port_store import manner_layout, touch_layout
from systolith.devices.streams import StreamPort
from systolith.emit.verilog import emit_design
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.hierarchy import Block, place
from systolith.memory import interleave
from systolith.memory.dma.fifo import Fifo
from systolith.memory.interleave_map import InterleaveConfig

__all__ = ["InterleaveBench", "InterleaveDesign", "Played", "Program", "where"]

_WAITING = 1024
_POLYNOMIAL = {2: 3, 4: 7, 8: 11, 16: 19, 32: 37}


def where(config: InterleaveConfig, atom: int) -> tuple[int, int]:
    """Channel of an atom and address there, by long division."""
    granule, offset = divmod(atom, config.granule)
    channel = granule % config.channels
    if config.hashed:
        channel, divisor = granule, _POLYNOMIAL[config.channels]
        while channel >= config.channels:
            channel ^= divisor << (channel.bit_length() - divisor.bit_length())
    return channel, granule // config.channels * config.granule + offset


class _Memory(PortMemory):
    """One of several: their ports are different signatures, so each is a module of its own."""

    def __init__(self, config: InterleaveConfig, number: int) -> None:
        self.number = number
        super().__init__(
            atom=config.atom,
            atom_bits=config.atom_bits,
            count_bits=config.channel_count_bits,
            store_bits=config.atom_bits,
        )

    @property
    def module_name(self) -> str:
        return f"port_memory_{self.number}"


class InterleaveDesign(Block):
    """The block between queues that are let go at random, and memories of different latencies.

    ``gates``: when requests, write atoms and read atoms may pass: 0 always, 1 at random, 3 never.
    """

    def __init__(self, config: InterleaveConfig) -> None:
        self.config = config
        number = {"channel": config.channel_bits}
        port: Any = config.user.create()
        self.touch = touch_layout(config.atom_bits, 8 * config.atom)
        self.inputs: dict[str, Any] = {
            "gates": PackedStruct({"request": 2, "write": 2, "read": 2}),
            "manner": PackedStruct({**number, "manner": manner_layout()}),
            "touch": PackedStruct({**number, "touch": self.touch}),
            "request": port.request.payload.shape(),
            "write": port.write.payload.shape(),
        }
        asked: Any = config.channel.members["request"].signature
        self.asked = asked.members["payload"].shape
        self.outputs: dict[str, Any] = {
            "shown": PackedStruct({"data": 8 * config.atom, "poison": 1}),
            "taken": self.inputs["request"],
            "read": port.read.payload.shape(),
            "done": 1,
            "beyond": 1,
            **{f"asked{n}": self.asked for n in range(config.channels)},
            **{f"told{n}": 1 for n in range(config.channels)},
        }
        members: dict[str, Any] = {}
        for names, flow in ((self.inputs, In), (self.outputs, Out)):
            for name, layout in names.items():
                members |= {f"{name}__valid": flow(1), f"{name}__payload": flow(layout)}
        members |= {f"{name}__ready": Out(1) for name in ("request", "write")}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, this = self.config, self
        at: Any = this
        dut: Any = interleave.Interleave(config)
        m.submodules.dut = place(dut, platform)
        gates: Any = Signal(self.inputs["gates"])
        with m.If(at.gates__valid):
            m.d.sync += gates.eq(at.gates__payload)
        noise = _noise(m, 0x5EED0123456789AB, "user")
        for n, name in enumerate(("request", "write")):
            port, layout = getattr(dut.user, name), self.inputs[name]
            queue = Fifo(depth=_WAITING, width=layout.size)
            m.submodules[f"queue_{name}"] = place(queue, platform)
            offered = Signal(name=f"offered_{name}")
            shown = Signal(name=f"shown_{name}")
            m.d.sync += offered.eq(shown & ~port.ready)
            m.d.comb += [
                queue.put.eq(getattr(this, f"{name}__valid") & queue.space),
                queue.entry.eq(getattr(this, f"{name}__payload")),
                getattr(this, f"{name}__ready").eq(queue.space),
                shown.eq(queue.valid & (offered | _passes(gates[name], noise, 9 * n))),
                port.valid.eq(shown),
                port.payload.eq(
                    Mux(shown, queue.head, noise.replicate(layout.size // 64 + 1)[: layout.size])
                ),
                queue.take.eq(shown & port.ready),
            ]
        user = dut.user
        m.d.comb += [
            user.read.ready.eq(_passes(gates.read, noise, 18)),
            at.read__valid.eq(user.read.valid & user.read.ready),
            at.read__payload.eq(user.read.payload),
            at.done__valid.eq(user.done),
            at.taken__valid.eq(user.request.valid & user.request.ready),
            at.taken__payload.eq(user.request.payload),
        ]
        self._memories(m, dut, platform)
        return m

    def _memories(self, m: Module, dut: Any, platform: object) -> None:
        config = self.config
        at: Any = self
        memories: list[Any] = []
        for n in range(config.channels):
            memory: Any = _Memory(config, n)
            memories.append(memory)
            m.submodules[f"memory_{n}"] = place(memory, platform)
            channel = getattr(dut, f"channel{n}")
            for name in ("request", "write"):
                m.d.comb += [
                    getattr(memory.port, name).valid.eq(getattr(channel, name).valid),
                    getattr(memory.port, name).payload.eq(getattr(channel, name).payload),
                    getattr(channel, name).ready.eq(getattr(memory.port, name).ready),
                ]
            manner: Any = Signal(manner_layout(), init={"latency": 3}, name=f"manner_{n}")
            with m.If(at.manner__valid & (at.manner__payload.channel == n)):
                m.d.sync += manner.eq(at.manner__payload.manner)
            m.d.comb += [
                channel.read.valid.eq(memory.port.read.valid),
                channel.read.payload.eq(memory.port.read.payload),
                memory.port.read.ready.eq(channel.read.ready),
                channel.done.eq(memory.port.done),
                memory.manner.eq(manner),
                memory.noise.eq(_noise(m, 0x9E3779B97F4A7C15 * (2 * n + 1) % (1 << 64), f"{n}")),
                memory.touch.eq(at.touch__payload.touch),
                memory.touch_valid.eq(at.touch__valid & (at.touch__payload.channel == n)),
                getattr(self, f"asked{n}__valid").eq(channel.request.valid & channel.request.ready),
                getattr(self, f"asked{n}__payload").eq(channel.request.payload),
                getattr(self, f"told{n}__valid").eq(channel.done),
            ]
        chosen = at.touch__payload.channel
        m.d.comb += [
            at.beyond__valid.eq(Cat(x.beyond for x in memories).any()),
            at.shown__valid.eq(at.touch__valid),
            at.shown__payload.data.eq(Array(x.shown for x in memories)[chosen]),
            at.shown__payload.poison.eq(Array(x.marked for x in memories)[chosen]),
        ]


def _passes(mode: Value, noise: Value, bit: int) -> Value:
    return (mode == 0) | ((mode == 1) & noise[bit])


def _noise(m: Module, seed: int, name: str) -> Signal:
    state = Signal(64, init=seed, name=f"noise_{name}")
    value: Value = state
    for step in (13, -7, 17):
        shifted = Signal(64, name=f"noise_{name}_{abs(step)}")
        m.d.comb += shifted.eq(value ^ (value << step if step > 0 else value >> -step))
        value = shifted
    m.d.sync += state.eq(value)
    return state


@dataclass
class Played:
    reads: list[Any] = field(default_factory=list)
    shown: list[Any] = field(default_factory=list)
    asked: list[list[Any]] = field(default_factory=list)
    cycles: dict[str, list[int]] = field(default_factory=dict)


class InterleaveBench:
    def __init__(
        self, config: InterleaveConfig, folder: Path, *, simulator: str = "verilator"
    ) -> None:
        self.config = config
        top = InterleaveDesign(config)
        design = emit_design(top, "dut")
        self.layouts = {**top.inputs, **top.outputs}
        ports = [
            [
                StreamPort(
                    n, x if isinstance(x, int) else x.size, has_ready=n in ("request", "write")
                )
                for n, x in side.items()
            ]
            for side in (top.inputs, top.outputs)
        ]
        self.simulation: Simulation = build(
            design.verilog(), design.top, *ports, folder, simulator=simulator
        )

    def word(self, name: str, **fields: Any) -> int:
        return int(self.layouts[name].const(fields).as_value().value)

    def play(self, script: Script, *, deadline: int = 4000) -> Played:
        result = self.simulation.run([script], deadline=deadline)
        moved = result.transfers

        def words(name: str) -> list[Any]:
            return [self.layouts[name].from_bits(t.payload) for t in moved[name]]

        return Played(
            reads=words("read"),
            shown=words("shown"),
            asked=[words(f"asked{n}") for n in range(self.config.channels)],
            cycles={n: [t.cycle for t in moved[n]] for n in self.layouts},
        )


class Program:
    """Requests for the script, carried out on an array of bytes at the same time."""

    def __init__(self, bench: InterleaveBench, *, seed: int) -> None:
        self.bench, self.config = bench, bench.config
        self.draw = random.Random(seed)
        self.script = Script()
        config = self.config
        self.atoms = 1 << config.address_bits
        self.memory = np.zeros((self.atoms, config.atom), np.uint8)
        self.poison = np.zeros(self.atoms, bool)
        self.expected: list[tuple[int, bool, bool]] = []
        self.asked: list[list[tuple[int, int, int]]] = [[] for _ in range(config.channels)]
        self.parts: list[list[tuple[int, int]]] = []  # of writes: channel, number of its write

    def gates(self, **modes: int) -> None:
        self.script.send("gates", self.bench.word("gates", **modes))

    def manner(self, channel: int, **fields: int) -> None:
        manner = {"latency": 3, **fields}
        self.script.send("manner", self.bench.word("manner", channel=channel, manner=manner))

    def request(self, write: bool, atom: int, count: int) -> None:
        config = self.config
        word = self.bench.word("request", write=int(write), atom=atom, count=count)
        self.script.send("request", word)
        mine: list[tuple[int, int]] = []
        while count:  # what the channels have to be asked
            here = count
            if count > config.longest:
                here = min(count, config.longest - atom % config.longest)
            parts: dict[int, list[int]] = {}
            for k in range(atom, atom + here):
                channel, local = where(config, k)
                parts.setdefault(channel, []).append(local)
            for channel, locals in parts.items():
                assert locals == list(range(locals[0], locals[0] + len(locals)))
                assert len(locals) < 1 << config.channel_count_bits
                mine.append((channel, sum(w for w, _, _ in self.asked[channel])))
                self.asked[channel].append((int(write), locals[0], len(locals)))
            atom, count = atom + here, count - here
        if write:
            self.parts.append(mine)

    def read(self, atom: int, count: int) -> None:
        self.request(False, atom, count)
        for k in range(count):
            value = int.from_bytes(self.memory[atom + k].tobytes(), "little")
            self.expected.append((value, bool(self.poison[atom + k]), k == count - 1))

    def write(self, atom: int, count: int, *, whole: float = 1.0, poison: float = 0.0) -> None:
        size, draw = self.config.atom, self.draw
        first = draw.random() < 0.5  # the request before the data
        if first:
            self.request(True, atom, count)
        for k in range(atom, atom + count):
            value = draw.getrandbits(8 * size)
            mask = (1 << size) - 1
            if draw.random() >= whole:
                mask = draw.choice([0, draw.getrandbits(size)])
            bad = draw.random() < poison
            word = self.bench.word("write", data=value, mask=mask, poison=int(bad))
            self.script.send("write", word)
            raw = value.to_bytes(size, "little")
            for b in range(size):
                if mask >> b & 1:
                    self.memory[k, b] = raw[b]
            self.poison[k] = bad if mask else self.poison[k]
            if k == atom and not first:
                self.request(True, atom, count)

    def fill(self, chunk: int) -> None:
        """Write every atom."""
        for atom in range(0, self.atoms, chunk):
            self.write(atom, min(chunk, self.atoms - atom))

    def mixed(self, number: int, most: int, **write: float) -> None:
        """Random reads and writes, many of them short, in places that meet often."""
        draw = self.draw
        for _ in range(number):
            count = min(self.atoms, draw.choice([1, 1, 2, 3, draw.randint(1, most)]))
            hot = min(64, self.atoms - count)
            atom = draw.choice(
                [draw.randint(0, self.atoms - count), draw.randint(0, hot), self.atoms - count]
            )
            if draw.random() < 0.5:
                self.write(atom, count, **write)
            else:
                self.read(atom, count)

    def settle(self) -> None:
        """Wait for all answers, and some time for those that are too many."""
        self.script.wait("read", len(self.expected)).wait("done", len(self.parts)).idle(200)

    def look(self) -> None:
        for atom in range(self.atoms):
            channel, local = where(self.config, atom)
            touch = {"write": 0, "address": local}
            self.script.send("touch", self.bench.word("touch", channel=channel, touch=touch))

    def check(self, played: Played) -> list[str]:
        """What differs, in order."""
        wrong = []
        found = [(int(w.data), bool(w.error), bool(w.last)) for w in played.reads]
        if len(found) != len(self.expected):
            wrong.append(f"{len(found)} atoms read, not {len(self.expected)}")
        for n, (a, b) in enumerate(zip(found, self.expected, strict=False)):
            if a != b:
                wrong.append(f"atom {n} read: {a}, not {b}")
        done = played.cycles["done"]
        if len(done) != len(self.parts):
            wrong.append(f"{len(done)} writes done, not {len(self.parts)}")
        told = [played.cycles[f"told{n}"] for n in range(self.config.channels)]
        for n, (cycle, parts) in enumerate(zip(done, self.parts, strict=False)):
            if any(k >= len(told[c]) or told[c][k] >= cycle for c, k in parts):
                wrong.append(f"write {n} is done before its channels are")
        if played.cycles["beyond"]:
            wrong.append("a request is outside of a channel")
        for n, (a, b) in enumerate(zip(played.asked, self.asked, strict=True)):
            asked = [(int(w.write), int(w.atom), int(w.count)) for w in a]
            if asked != b:
                at = next((k for k, (x, y) in enumerate(zip(asked, b, strict=False)) if x != y), 0)
                wrong.append(f"channel {n}: {len(asked)} requests, not {len(b)}, first at {at}")
        shown = [(int(w.data), bool(w.poison)) for w in played.shown]
        for atom in range(len(shown)):
            value = int.from_bytes(self.memory[atom].tobytes(), "little")
            if shown[atom] != (value, self.poison[atom]):
                wrong.append(f"atom {atom} holds {shown[atom]}, not {value}")
        return wrong
