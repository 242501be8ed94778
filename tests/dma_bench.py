"""Play descriptors on a DMA engine between two memories, and compare with the golden model."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from amaranth._toolchain.yosys import find_yosys
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.devices.port_local import PortLocal
from systolith.devices.port_memory import PortMemory
from systolith.devices.port_store import manner_layout, touch_layout
from systolith.devices.streams import StreamPort
from systolith.emit.verilog import Design, emit_design
from systolith.golden.dma import Code, Model, Region, Request, Retired, Sizes, Space
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.hierarchy import Block, place
from systolith.memory.dma import engine
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import RECORD, list_layout, region_layout, retired_layout
from systolith.memory.dma.requests import memory_port
from systolith.memory.dma.stop import WATCHDOG_BITS

SMALL = DmaConfig(
    name="small",
    atom_bits=12,
    local_bits=9,
    count_bits=7,
    token_bits=7,
    page_bits=5,
    regions=6,
    longest=16,
    room=32,
    reads=4,
    writes=4,
    write_room=4,
    answers=8,
    descriptors=4,
    table_room=4,
)
NARROW = replace(SMALL, name="narrow", atom=4, room=64, table_room=2)
STORE_BITS, LOCAL_BITS = 9, 8
MEMORY, LOCAL = 1 << STORE_BITS, 1 << LOCAL_BITS


def sizes(config: DmaConfig) -> Sizes:
    names = ("atom", "atom_bits", "local_bits", "count_bits", "token_bits", "page_bits")
    return Sizes(**{n: getattr(config, n) for n in (*names, "regions", "longest")})


def control_layout(config: DmaConfig) -> Any:
    return PackedStruct(
        {
            "memory": manner_layout(),
            "local": manner_layout(),
            "refuse_from": LOCAL_BITS + 1,
            "refuse_to": LOCAL_BITS + 1,
            "watchdog": WATCHDOG_BITS,
            "most": config.count_bits,
            "list_region": config.index_bits,
            "lose": 1,
            "extra": 1,
            "forget": 1,
            "restart": 1,
        }
    )


STATUS = PackedStruct(
    {name: 1 for name in ("stopped", "unanswered", "beyond", "overflow", "stray", "unstable")}
)


class DmaBench(Block):
    """Engine, memory and scratchpad; see the names of the ports."""

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        bits = config.data_bits
        self.layouts = {
            "control": control_layout(config),
            "region": PackedStruct({"index": 8, "region": region_layout(config)}),
            "poke": PackedStruct({"local": 1, "touch": touch_layout(STORE_BITS, bits)}),
            "dump": PackedStruct({"local": 1, "last": STORE_BITS}),
            "descriptors": RECORD,
            "lists": list_layout(),
            "retired": retired_layout(config),
            "asked": memory_port(config).request_layout,
            "shown": PackedStruct({"data": bits, "poison": 1}),
            "status": STATUS,
        }
        members = {}
        for name, layout in self.layouts.items():
            source = name in ("retired", "asked", "shown", "status")
            flow, back = (Out, In) if source else (In, Out)
            members |= {f"{name}__valid": flow(1), f"{name}__payload": flow(layout)}
            if name in ("dump", "descriptors", "lists", "retired"):
                members[f"{name}__ready"] = back(1)
        super().__init__(members)

    def ports(self, *names: str) -> list[StreamPort]:
        return [
            StreamPort(n, self.layouts[n].size, has_ready=f"{n}__ready" in self.signature.members)
            for n in names
        ]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, this = self.config, self
        dut: Any = engine.DmaEngine(config)
        memory: Any = PortMemory(
            atom=config.atom,
            atom_bits=config.atom_bits,
            count_bits=config.run_bits,
            store_bits=STORE_BITS,
        )
        local: Any = PortLocal(
            bytes=config.atom, address_bits=config.local_bits, store_bits=LOCAL_BITS
        )
        for name, block in (("dut", dut), ("memory", memory), ("local", local)):
            m.submodules[name] = place(block, platform)
        noise = Signal(64, init=0x5EED_0F_DA7A)
        a, b = Signal(64), Signal(64)
        m.d.comb += [a.eq(noise ^ (noise << 13)), b.eq(a ^ (a >> 7))]
        m.d.sync += noise.eq(b ^ (b << 17))
        swapped = Signal(64)
        m.d.comb += swapped.eq(Cat(noise[32:], noise[:32]))

        control: Any = Signal(control_layout(config))
        regions: Any = Signal.like(dut.regions)
        with m.If(this.control__valid):
            m.d.sync += control.eq(this.control__payload)
        for n in range(config.regions):
            with m.If(this.region__valid & (this.region__payload.index == n)):
                m.d.sync += regions[n].eq(this.region__payload.region)
        once = this.control__payload
        m.d.comb += [
            dut.regions.eq(regions),
            *(getattr(dut, n).eq(control[n]) for n in ("watchdog", "most", "list_region")),
            dut.restart.eq(this.control__valid & once.restart),
            memory.lose.eq(this.control__valid & once.lose),
            memory.extra.eq(this.control__valid & once.extra),
            *(block.forget.eq(this.control__valid & once.forget) for block in (memory, local)),
            memory.manner.eq(control.memory),
            local.manner.eq(control.local),
            memory.noise.eq(noise),
            local.noise.eq(swapped),
            local.refuse_from.eq(control.refuse_from),
            local.refuse_to.eq(control.refuse_to),
        ]
        for name, layout in (("descriptors", RECORD), ("lists", list_layout())):
            port = getattr(dut, name)
            valid = getattr(this, f"{name}__valid")
            garbage = Signal(layout.size, name=f"garbage_{name}")
            m.d.comb += [
                garbage.eq(swapped.replicate(layout.size // 64 + 1)),
                port.valid.eq(valid),
                port.payload.eq(Mux(valid, getattr(this, f"{name}__payload"), garbage)),
                getattr(this, f"{name}__ready").eq(port.ready),
            ]
        m.d.comb += [
            this.retired__valid.eq(dut.retired.valid),
            this.retired__payload.eq(dut.retired.payload),
            dut.retired.ready.eq(this.retired__ready),
            this.asked__valid.eq(dut.memory.request.valid & dut.memory.request.ready),
            this.asked__payload.eq(dut.memory.request.payload),
        ]
        for side, other in ((dut.memory, memory.port), (dut.local, local.port)):
            m.d.comb += [
                other.request.valid.eq(side.request.valid),
                other.request.payload.eq(side.request.payload),
                side.request.ready.eq(other.request.ready),
            ]
        m.d.comb += [
            memory.port.write.valid.eq(dut.memory.write.valid),
            memory.port.write.payload.eq(dut.memory.write.payload),
            dut.memory.write.ready.eq(memory.port.write.ready),
            dut.memory.read.valid.eq(memory.port.read.valid),
            dut.memory.read.payload.eq(memory.port.read.payload),
            memory.port.read.ready.eq(dut.memory.read.ready),
            dut.memory.done.eq(memory.port.done),
            dut.local.response.eq(local.port.response),
        ]
        self._images(m, memory, local)
        self._status(m, dut, memory, local, this.control__valid & once.restart)
        return m

    def _images(self, m: Module, memory: Any, local: Any) -> None:
        this: Any = self
        poke, dump = this.poke__payload, this.dump__payload
        at, showing = Signal(STORE_BITS), Signal()
        m.d.comb += this.dump__ready.eq(showing & (at == dump.last))
        m.d.sync += [
            at.eq(Mux(this.dump__valid & showing & ~this.dump__ready, at + 1, 0)),
            showing.eq(this.dump__valid & ~this.dump__ready),
        ]
        for block, chosen, shown in (
            (memory, ~poke.local, ~dump.local),
            (local, poke.local, dump.local),
        ):
            m.d.comb += [
                block.touch_valid.eq((this.poke__valid & chosen) | (showing & shown)),
                block.touch.write.eq(this.poke__valid),
                block.touch.address.eq(Mux(this.poke__valid, poke.touch.address, at)),
                block.touch.data.eq(poke.touch.data),
                block.touch.poison.eq(poke.touch.poison),
            ]
        m.d.comb += [
            this.shown__valid.eq(showing),
            this.shown__payload.data.eq(Mux(dump.local, local.shown, memory.shown)),
            this.shown__payload.poison.eq(Mux(dump.local, local.marked, memory.marked)),
        ]

    def _status(self, m: Module, dut: Any, memory: Any, local: Any, restart: Any) -> None:
        """Faults that stay, and whether every offer was held until it was accepted."""
        this: Any = self
        status: Any = Signal(STATUS)
        told: Any = Signal(STATUS)
        kept = {n: Signal(name=f"kept_{n}") for n in ("beyond", "overflow", "stray", "unstable")}
        unstable = Signal()
        cleared = Signal()  # a restart takes offers back
        m.d.sync += cleared.eq(dut.stopped)
        for n, port in enumerate(
            (dut.retired, dut.memory.request, dut.memory.write, dut.local.request)
        ):
            offered, payload = Signal(name=f"offered_{n}"), Signal.like(port.payload)
            m.d.sync += [offered.eq(port.valid & ~port.ready), payload.eq(port.payload)]
            changed = port.payload.as_value() != payload.as_value()
            with m.If(offered & ~(cleared & ~dut.stopped) & (~port.valid | changed)):
                m.d.comb += unstable.eq(1)
        now = {
            "beyond": memory.beyond | local.beyond,
            "overflow": dut.overflow,
            "stray": dut.stray,
            "unstable": unstable,
        }
        for name, signal in kept.items():
            m.d.sync += signal.eq(signal | now[name])
            m.d.comb += status[name].eq(signal)
        m.d.comb += [status.stopped.eq(dut.stopped), status.unanswered.eq(dut.unanswered)]
        m.d.sync += told.eq(status)
        m.d.comb += [
            this.status__payload.eq(status),
            this.status__valid.eq(status.as_value() != told.as_value()),
        ]


def _flat(design: Design) -> str:
    """One module: compiled in a quarter of the time of as many as there are blocks."""
    script = (
        *("read_rtlil <<RTLIL_END", design.rtlil, "RTLIL_END", "proc -norom"),
        *("delete t:$meminit_v2", f"hierarchy -check -top {design.top}", "flatten"),
        *("opt_clean -purge", "memory_collect", "attrmap -remove src -remove init"),
        "write_verilog -noattr",
    )
    yosys = find_yosys(lambda version: version >= (0, 40))
    text: str = yosys.run(["-q", "-"], "\n".join(script), src_loc_at=1)
    return text[text.index("module ") :]


@dataclass
class Played:
    """What a run has shown."""

    retired: list[Retired] = field(default_factory=list)
    retired_at: list[int] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    images: list[tuple[Any, Any]] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    sent_at: list[int] = field(default_factory=list)
    asked_at: list[int] = field(default_factory=list)
    statuses: list[tuple[int, dict[str, int]]] = field(default_factory=list)


class DmaPlayer:
    """A bench under the player."""

    def __init__(self, config: DmaConfig, folder: Path, *, flat: bool = True) -> None:
        self.config = config
        self.bench = DmaBench(config)
        self.layouts: dict[str, Any] = self.bench.layouts
        names = ("control", "region", "poke", "dump", "descriptors", "lists")
        inputs = self.bench.ports(*names)
        outputs = self.bench.ports("retired", "asked", "shown", "status")
        design = emit_design(self.bench, "dut")
        text = _flat(design) if flat else design.verilog()
        self.simulation: Simulation = build(text, design.top, inputs, outputs, folder)

    def send(self, script: Script, stream: str, **values: Any) -> None:
        script.send(stream, int(self.layouts[stream].const(values).as_value().value))

    def control(self, script: Script, **values: Any) -> None:
        quick = {"latency": 1}
        given = {"memory": quick, "local": quick, "most": 100, "watchdog": 2000, **values}
        self.send(script, "control", **given)

    def regions(self, script: Script, regions: list[Region]) -> None:
        for index, r in enumerate(regions):
            region = {n: int(getattr(r, n)) for n in ("local", "read", "write", "base", "limit")}
            self.send(script, "region", index=index, region=region)

    def poke(self, script: Script, space: Space, words: Any, *, local: bool) -> None:
        for at in words:
            value = int.from_bytes(space.data[at].tobytes(), "little")
            touch = {
                "write": 1,
                "address": int(at),
                "data": value,
                "poison": int(space.poison[at]),
            }
            self.send(script, "poke", local=int(local), touch=touch)

    def dump(self, script: Script) -> None:
        for local, words in ((0, MEMORY), (1, LOCAL)):
            self.send(script, "dump", local=local, last=words - 1)

    def play(self, scripts: list[Script] | Script, *, deadline: int = 20_000) -> Played:
        given = scripts if isinstance(scripts, list) else [scripts]
        result = self.simulation.run(given, deadline=deadline)
        played = Played()

        def seen(name: str) -> Any:
            for t in result.transfers[name]:
                yield t.cycle, self.layouts[name].from_bits(t.payload)

        for cycle, word in seen("retired"):
            code = Code(int(word.code))
            one = Retired(int(word.tag), bool(int(word.listed)), code, int(word.atoms))
            played.retired.append(one)
            played.retired_at.append(cycle)
        for cycle, word in seen("asked"):
            played.requests.append(Request(bool(int(word.write)), int(word.atom), int(word.count)))
            played.asked_at.append(cycle)
        bits = self.config.data_bits
        words = [
            (t.payload & (1 << bits) - 1, t.payload >> bits) for t in result.transfers["shown"]
        ]
        whole = MEMORY + LOCAL
        for n in range(0, len(words), whole):
            for part in (words[n : n + MEMORY], words[n + MEMORY : n + whole]):
                data = b"".join(value.to_bytes(bits // 8, "little") for value, _ in part)
                image = np.frombuffer(data, np.uint8).reshape(-1, bits // 8)
                played.images.append((image, np.array([p for _, p in part], bool)))
        played.statuses = [
            (c, {n: int(w[n]) for n in dict(iter(STATUS))}) for c, w in seen("status")
        ]
        played.status = played.statuses[-1][1] if played.statuses else {}
        played.sent_at = [t.cycle for t in result.transfers["descriptors"]]
        return played


def fresh_model(config: DmaConfig, rng: np.random.Generator, regions: list[Region]) -> Model:
    memory, local = Space(MEMORY, config.atom), Space(LOCAL, config.atom)
    for space in (memory, local):
        space.data = rng.integers(0, 256, space.data.shape, dtype=np.uint8)
        space.poison = rng.random(len(space.poison)) < 0.01
    return Model(sizes(config), memory, local, regions)


def draw_manner(draw: random.Random) -> dict[str, int]:
    return {
        "latency": draw.choice([1, 2, 5, draw.randint(1, 40)]),
        "jitter": draw.randrange(2),
        "pauses": draw.choice([0, 0, 1, 3, 6]),
    }
