"""Play requests on a memory with ECC inside it, next to the golden model of it."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.devices.port_memory import PortMemory
from systolith.devices.port_store import manner_layout, touch_layout
from systolith.devices.streams import StreamPort
from systolith.emit.verilog import emit_design
from systolith.golden.inline_ecc import InlineMemory
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.sdr import inline_ecc
from systolith.memory.sdr.block_code import InlineConfig

__all__ = ["InlineBench", "InlineDesign", "Played", "Program"]


def _control(config: InlineConfig) -> data.StructLayout:
    return PackedStruct(
        {
            **dict.fromkeys(("bypass", "scrub", "clear", "fill", "lose", "hesitant"), 1),
            "fill_block": config.block_bits,
            "fill_blocks": config.block_bits + 1,
        }
    )


def _status(config: InlineConfig) -> data.StructLayout:
    return PackedStruct(
        {
            **dict.fromkeys(("corrected", "uncorrectable", "scrubs"), 32),
            **dict.fromkeys(("first_valid", "bypassed", "filling", "idle", "beyond"), 1),
            "first": config.block_bits + 3,
        }
    )


class InlineDesign(Block):
    """The block between queues of requests and of atoms, and a memory that can be looked into."""

    def __init__(self, config: InlineConfig) -> None:
        self.config = config
        user = config.user
        self.bits = (config.atoms - 1).bit_length()
        self.touch = touch_layout(self.bits, 8 * config.atom)
        self.inputs: dict[str, Any] = {
            "control": _control(config),
            "manner": manner_layout(),
            "touch": self.touch,
            "request": user.request_layout,
            "write": user.write_layout,
        }
        self.outputs: dict[str, Any] = {
            "status": _status(config),
            "shown": 8 * config.atom,
            "read": user.read_layout,
            "done": 1,
            "asked": config.memory.request_layout,
        }
        members: dict[str, Any] = {}
        for name, layout in self.inputs.items():
            members |= {f"{name}__valid": In(1), f"{name}__payload": In(layout)}
        for name, layout in self.outputs.items():
            members |= {f"{name}__valid": Out(1), f"{name}__payload": Out(layout)}
        members |= {f"{name}__ready": Out(1) for name in ("request", "write")}
        super().__init__({**members, "read__ready": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, t = self.config, self
        this: Any = t
        port = config.memory
        ecc: Any = inline_ecc.InlineEcc(config)
        memory: Any = PortMemory(
            atom=config.atom,
            atom_bits=port.atom_bits,
            count_bits=port.count_bits,
            store_bits=self.bits,
        )
        requests = Fifo(depth=16, width=config.user.request_layout.size)
        writes = Fifo(depth=64, width=config.user.write_layout.size)
        for name, block in (
            ("ecc", ecc),
            ("memory", memory),
            ("requests", requests),
            ("writes", writes),
        ):
            m.submodules[name] = place(block, platform)
        control: Any = Signal(_control(config))
        manner: Any = Signal(manner_layout(), init={"latency": 3})
        with m.If(this.control__valid):
            m.d.sync += control.eq(this.control__payload)
        with m.If(this.manner__valid):
            m.d.sync += manner.eq(this.manner__payload)
        noise = Signal(64, init=0x5EED0123456789AB)
        m.d.sync += noise.eq(_noise(m, noise))
        mine = ecc.memory
        pulse = this.control__valid
        m.d.comb += [
            memory.port.request.valid.eq(mine.request.valid),
            memory.port.request.payload.eq(mine.request.payload),
            mine.request.ready.eq(memory.port.request.ready),
            memory.port.write.valid.eq(mine.write.valid),
            memory.port.write.payload.eq(mine.write.payload),
            mine.write.ready.eq(memory.port.write.ready),
            mine.read.valid.eq(memory.port.read.valid),
            mine.read.payload.eq(memory.port.read.payload),
            memory.port.read.ready.eq(mine.read.ready),
            mine.done.eq(memory.port.done),
            memory.manner.eq(manner),
            memory.noise.eq(noise),
            memory.touch.eq(this.touch__payload),
            memory.touch_valid.eq(this.touch__valid),
            memory.lose.eq(pulse & this.control__payload.lose),
            ecc.fill.eq(pulse & this.control__payload.fill),
            ecc.clear.eq(pulse & this.control__payload.clear),
            ecc.fill_block.eq(this.control__payload.fill_block),
            ecc.fill_blocks.eq(this.control__payload.fill_blocks),
            ecc.bypass.eq(control.bypass),
            ecc.scrub.eq(control.scrub),
            this.asked__valid.eq(mine.request.valid & mine.request.ready),
            this.asked__payload.eq(mine.request.payload),
            this.shown__valid.eq(this.touch__valid & ~this.touch__payload.write),
            this.shown__payload.eq(memory.shown),
        ]
        # The user: valid stays once it was there, payloads are noise while it is not.
        for n, (queue, name) in enumerate(((requests, "request"), (writes, "write"))):
            port_ = getattr(ecc.user, name)
            offered = Signal(name=f"offered_{name}")
            shown = queue.valid & (offered | ~control.hesitant | noise[20 + 9 * n])
            layout = self.inputs[name]
            m.d.sync += offered.eq(shown & ~port_.ready)
            m.d.comb += [
                queue.put.eq(getattr(this, f"{name}__valid") & queue.space),
                queue.entry.eq(getattr(this, f"{name}__payload")),
                getattr(this, f"{name}__ready").eq(queue.space),
                port_.valid.eq(shown),
                port_.payload.eq(Cat(noise.replicate(layout.size // 64 + 1))[: layout.size]),
                queue.take.eq(shown & port_.ready),
            ]
            with m.If(shown):
                m.d.comb += port_.payload.eq(queue.head)
        m.d.comb += [
            this.read__valid.eq(ecc.user.read.valid),
            this.read__payload.eq(ecc.user.read.payload),
            ecc.user.read.ready.eq(this.read__ready),
            this.done__valid.eq(ecc.user.done),
        ]
        status: Any = Signal(_status(config))
        told: Any = Signal(_status(config))
        beyond = Signal()
        m.d.sync += [
            told.eq(status),
            beyond.eq(
                beyond
                | memory.beyond
                | (mine.write.valid & ~mine.write.p.mask.all() & ~ecc.bypassed)
            ),
        ]
        m.d.comb += [
            *(
                status[n].eq(getattr(ecc, n))
                for n in dict(iter(_status(config)))
                if n not in ("beyond", "idle")
            ),
            status.idle.eq(ecc.idle & ~requests.valid & ~writes.valid),
            status.beyond.eq(beyond),
            this.status__payload.eq(status),
            this.status__valid.eq(status.as_value() != told.as_value()),
        ]
        return m


def _noise(m: Module, state: Signal) -> Value:
    value: Value = state
    for step in (13, -7, 17):
        shifted = Signal(64, name=f"noise_{abs(step)}")
        m.d.comb += shifted.eq(value ^ (value << step if step > 0 else value >> -step))
        value = shifted
    return value


@dataclass
class Played:
    reads: list[Any] = field(default_factory=list)
    done: int = 0
    shown: list[int] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    asked: list[Any] = field(default_factory=list)
    cycles: dict[str, list[int]] = field(default_factory=dict)


class InlineBench:
    def __init__(self, config: InlineConfig, folder: Path) -> None:
        self.config = config
        top = InlineDesign(config)
        design = emit_design(top, "dut")
        self.layouts = {**top.inputs, **top.outputs}
        ready = ("request", "write", "read")
        ports = [
            [
                StreamPort(n, x if isinstance(x, int) else x.size, has_ready=n in ready)
                for n, x in side.items()
            ]
            for side in (top.inputs, top.outputs)
        ]
        self.simulation: Simulation = build(design.verilog(), design.top, *ports, folder)

    def model(self) -> InlineMemory:
        stored = np.zeros((self.config.atoms, self.config.atom), np.uint8)
        return InlineMemory(ecc=self.config.ecc, stored=stored)

    def word(self, name: str, **fields: int) -> int:
        return int(self.layouts[name].const(fields).as_value().value)

    def control(self, script: Script, **fields: int) -> Script:
        return script.send("control", self.word("control", **fields))

    def manner(self, script: Script, **fields: int) -> Script:
        return script.send("manner", self.word("manner", **{"latency": 3, **fields}))

    def touch(self, script: Script, model: InlineMemory, atom: int, flip: int) -> None:
        """Flip bits of a stored atom, in both memories; the bench is idle."""
        old = int.from_bytes(model.stored[atom].tobytes(), "little")
        new = old ^ flip
        raw = new.to_bytes(self.config.atom, "little")
        model.stored[atom] = np.frombuffer(raw, np.uint8)
        script.send("touch", self.word("touch", write=1, address=atom, data=new))

    def look(self, script: Script) -> Script:
        for atom in range(9 * self.config.blocks):
            script.send("touch", self.word("touch", write=0, address=atom))
        return script

    def play(self, script: Script, *, deadline: int = 3000) -> Played:
        result = self.simulation.run([script], deadline=deadline)
        played = Played(shown=[t.payload for t in result.transfers["shown"]])
        played.reads = [self.layouts["read"].from_bits(t.payload) for t in result.transfers["read"]]
        played.asked = [
            self.layouts["asked"].from_bits(t.payload) for t in result.transfers["asked"]
        ]
        played.done = len(result.transfers["done"])
        for t in result.transfers["status"]:
            word = self.layouts["status"].from_bits(t.payload)
            played.status = {n: int(word[n]) for n in dict(iter(self.layouts["status"]))}
        played.cycles = {
            n: [t.cycle for t in result.transfers[n]] for n in ("read", "write", "asked", "done")
        }
        return played

    def contents(self, model: InlineMemory) -> list[int]:
        return [
            int.from_bytes(model.stored[a].tobytes(), "little") for a in range(9 * model.blocks)
        ]


class Program:
    """Requests for the script, carried out by the model at the same time."""

    def __init__(self, bench: InlineBench, *, seed: int) -> None:
        self.bench, self.draw = bench, random.Random(seed)
        self.model = bench.model()
        self.script = Script()
        self.expected: list[tuple[int, bool, bool]] = []
        self.writes = 0

    def fill(self, **control: int) -> None:
        bench, blocks = self.bench, self.bench.config.blocks
        bench.control(self.script, fill=1, fill_block=0, fill_blocks=blocks, **control)
        self.script.idle(60 * blocks)
        self.model.fill(0, blocks)

    def request(self, write: bool, atom: int, count: int) -> None:
        word = self.bench.word("request", write=int(write), atom=atom, count=count)
        self.script.send("request", word)

    def read(self, atom: int, count: int) -> None:
        self.request(False, atom, count)
        data, bad = self.model.read(atom, count)
        for n in range(count):
            value = int.from_bytes(data[n].tobytes(), "little")
            self.expected.append((value, bool(bad[n]), n == count - 1))

    def write(self, atom: int, count: int, *, whole: float = 0.9, poison: float = 0.0) -> None:
        """Bytes are left out of an atom with a chance of 1 - whole."""
        size = self.bench.config.atom
        first = self.draw.random() < 0.5  # the request before the data
        if first:
            self.request(True, atom, count)
        data = np.empty((count, size), np.uint8)
        mask = np.ones((count, size), bool)
        bad = np.zeros(count, bool)
        for n in range(count):
            value = self.draw.getrandbits(8 * size)
            bits = (1 << size) - 1
            if self.draw.random() >= whole:
                bits = self.draw.choice([0, self.draw.getrandbits(size)])
            bad[n] = self.draw.random() < poison
            data[n] = np.frombuffer(value.to_bytes(size, "little"), np.uint8)
            mask[n] = [bool(bits >> b & 1) for b in range(size)]
            word = self.bench.word("write", data=value, mask=bits, poison=int(bad[n]))
            self.script.send("write", word)
            if n == 0 and not first:
                self.request(True, atom, count)
        self.model.write(atom, data, mask, bad)
        self.writes += 1

    def quiet(self, cycles: int = 500) -> None:
        self.script.idle(cycles)

    def check(self, played: Played) -> list[str]:
        """What differs from the model, in order."""
        wrong = []
        found = [(int(w.data), bool(w.error), bool(w.last)) for w in played.reads]
        if len(found) != len(self.expected):
            wrong.append(f"{len(found)} atoms read, not {len(self.expected)}")
        for n, (a, b) in enumerate(zip(found, self.expected, strict=False)):
            if a[1:] != b[1:] or (not b[1] and a[0] != b[0]):
                wrong.append(f"atom {n} read: {a}, not {b}")
        if played.done != self.writes:
            wrong.append(f"{played.done} writes done, not {self.writes}")
        model = self.model
        for name, value in (
            ("corrected", model.corrected),
            ("uncorrectable", model.uncorrectable),
            ("scrubs", model.scrubs),
            ("first_valid", int(model.first is not None)),
            ("first", model.first if model.first is not None else played.status["first"]),
            ("beyond", 0),
            ("idle", 1),
        ):
            if played.status[name] != value:
                wrong.append(f"{name} is {played.status[name]}, not {value}")
        for atom, (a, b) in enumerate(
            zip(played.shown, self.bench.contents(model), strict=bool(played.shown))
        ):
            if a != b:
                wrong.append(f"atom {atom} holds {a:#x}, not {b:#x}")
        return wrong
