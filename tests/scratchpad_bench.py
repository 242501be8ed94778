"""Play a scratchpad cycle by cycle beside the golden model, which says what must come out."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.hdl import Value
from amaranth.lib.wiring import In

from systolith.array.geometry import ArrayConfig
from systolith.devices.streams import StreamPort
from systolith.emit.verilog import emit_design
from systolith.golden.scratchpad import Place, ScratchpadModel
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.harness.sim import simulate
from systolith.memory.scratchpad import Scratchpad
from systolith.memory.scratchpad_config import ScratchpadConfig

__all__ = [
    "CONFIGS",
    "Ports",
    "Session",
    "build_scratchpad",
    "differences",
    "in_amaranth",
    "play",
    "scratchpad",
]

_ARRAY = ArrayConfig(rows=4, cols=4, row_bands=2, col_bands=2, tile=1)
_TILES = ArrayConfig(rows=8, cols=4, row_bands=2, col_bands=2, tile=2)

CONFIGS: dict[str, ScratchpadConfig] = {
    "small": ScratchpadConfig.of(
        ArrayConfig(rows=2, cols=2, row_bands=2, col_bands=2, tile=1),
        "acts",
        depth=8,
        bytes=16,
        counter_bits=6,
    ),
    "acts": ScratchpadConfig.of(_ARRAY, "acts", depth=8, bytes=16, counter_bits=6),
    "acts-2": ScratchpadConfig.of(
        _TILES, "acts", depth=16, bytes=8, ports="1R1W", rotation=True, ecc=32, latency=1
    ),
    "weights": ScratchpadConfig.of(
        _ARRAY, "weights", depth=11, bytes=16, partial="refuse", rotation=True, counter_bits=8
    ),
    "plain": ScratchpadConfig.of(_TILES, "weights", depth=5, bytes=4, ecc=0, latency=1),
    "odd": ScratchpadConfig.of(
        ArrayConfig(rows=4, cols=4, col_bands=4, tile=1),
        "acts",
        depth=8,
        bytes=2,
        ecc=16,
        rotation=True,
        ports="1R1W",
    ),
}


class Ports:
    """All inputs of a block as one word, and all outputs as another."""

    def __init__(self, block: Scratchpad) -> None:
        self.block, self.config = block, block.config
        self.inputs: dict[str, tuple[int, int]] = {}
        self.outputs: dict[str, tuple[int, int]] = {}
        self.signals: dict[str, Value] = {}
        sizes = [0, 0]
        for path, member, value in block.signature.flatten(block):
            name = "__".join(map(str, path))
            width = len(Value.cast(value))
            side = 0 if member.flow == In else 1
            (self.inputs, self.outputs)[side][name] = (sizes[side], width)
            self.signals[name] = Value.cast(value)
            sizes[side] += width
        self.in_bits, self.out_bits = sizes
        config = self.config
        self.layouts: dict[str, Any] = {
            "port__request__payload": block.port.signature.request_layout,
            "port__response": block.port.signature.response_layout,
            "give__payload": config.token,
            "back__payload": config.token,
            **{f"command{n}__payload": config.command for n in block.heads},
        }
        for name in ("inject__payload", "refusal", "first_lost", "last_corrected", "lane"):
            owner: Any = block.inject.payload if name == "inject__payload" else getattr(block, name)
            self.layouts[name] = owner.shape()
        self.layouts["command_refused"] = block.command_refused.shape()

    def wrapper(self, top: str) -> str:
        """Module ``top`` around the block."""
        wires = [
            f".{name}({side}__payload[{at} +: {width}])"
            for side, ports in (("i", self.inputs), ("o", self.outputs))
            for name, (at, width) in ports.items()
        ]
        return f"""
module top(input clk, input rst, input [{self.in_bits - 1}:0] i__payload, input i__valid,
           output [{self.out_bits - 1}:0] o__payload, output o__valid);
    assign o__valid = 1'b1;
    {top} dut(.clk(clk), .rst(rst), {", ".join(wires)});
endmodule
"""

    # -- inputs

    def pack(self, inputs: Mapping[str, Any], noise: random.Random) -> int:
        """Inputs of a cycle; payloads that are not valid are random."""
        word = noise.getrandbits(self.in_bits)
        streams = {
            "port__request": inputs["request"],
            "give": inputs["give"],
            "back": inputs["back"],
            "inject": inputs["inject"],
            **{f"command{n}": inputs["command"].get(n) for n in self.block.heads},
        }
        values: dict[str, int] = {
            name: inputs[name] for name in ("mode", "interval", "pause", "clear")
        }
        for name, payload in streams.items():
            values[f"{name}__valid"] = int(payload is not None)
            if payload is not None:
                values[f"{name}__payload"] = self.fields(f"{name}__payload", payload)
        for name, value in values.items():
            at, width = self.inputs[name]
            word = word & ~(((1 << width) - 1) << at) | value << at
        return word

    def fields(self, name: str, payload: Mapping[str, int]) -> int:
        """A payload from its fields; ``address`` stands for ``place``."""
        layout, word = self.layouts[name], 0
        for key, value in payload.items():
            part = layout["place" if key == "address" and "inject" in name else key]
            assert 0 <= value < 1 << part.width, (name, key, value)
            word |= value << part.offset
        return word

    # -- outputs

    def expect(self, out: Mapping[str, Any]) -> tuple[int, int]:
        """What the outputs of a cycle must be, and which bits of them are defined."""
        value = care = 0

        def put(name: str, number: int, width: int | None = None, offset: int = 0) -> None:
            nonlocal value, care
            at, size = self.outputs[name]
            mask = (1 << (size if width is None else width)) - 1
            assert 0 <= number <= mask, (name, number)
            value |= number << at + offset
            care |= mask << at + offset

        def struct(name: str, fields: Mapping[str, int | None], layout: Any, base: int = 0) -> None:
            for key, number in fields.items():
                if number is not None:
                    part = layout[key]
                    put(name, number, part.width, base + part.offset)

        config = self.config
        for name in ("give_refused", "back_refused", "injected", "inject_refused", "mode_now"):
            put(name, out[name])
        for name in ("looked", "repaired", "overtaken"):
            put(name, out[name])
        for name, counts, width in (
            ("owned", out["owned"], config.groups),
            ("corrected", out["corrected"], config.counter_bits),
            ("lost", out["lost"], config.counter_bits),
        ):
            put(name, sum(number << width * n for n, number in enumerate(counts)))
        for key, ready in out["ready"].items():
            name = {"request": "port__request"}.get(key, key if isinstance(key, str) else "")
            if ready is not None:
                put(f"{name or f'command{key}'}__ready", int(ready))
        answer = out["response"]
        struct(
            "port__response",
            {"valid": int(answer is not None)}
            | ({key: answer[key] for key in ("refused", "error", "data")} if answer else {}),
            self.layouts["port__response"],
        )
        refused = bool(answer and answer["refused"])
        struct(
            "refusal",
            {"valid": int(refused)}
            | ({"code": answer["code"], "place": answer["address"]} if refused else {}),
            self.layouts["refusal"],
        )
        for name in ("first_lost", "last_corrected"):
            place = out[name]
            where = None if place is None else config.address(*place)
            struct(name, {"valid": int(place is not None), "place": where}, self.layouts[name])
        refusals = self.layouts["command_refused"]
        for n in self.block.heads:
            code = out["command_refused"].get(n)
            fields = {"valid": int(code is not None), "code": code}
            struct("command_refused", fields, refusals.elem_shape, refusals[n].offset)
        lanes = self.layouts["lane"]
        for n in range(config.banks):
            found = out["lane"].get(n)
            fields = {"valid": int(found is not None), "error": 0}
            if found:
                fields |= {"error": int(found.error != 0), "data": found.data}
            struct("lane", fields, lanes.elem_shape, lanes[n].offset)
        return value, care

    def describe(self, wrong: int) -> str:
        """Outputs that have any of these bits."""
        return ", ".join(
            name for name, (at, width) in self.outputs.items() if wrong >> at & (1 << width) - 1
        )


@dataclass
class Session:
    """A run that is being written: what goes in, and from the model what comes out.

    Cycles are (input, expected, care); None stands for a reset of three cycles.
    """

    ports: Ports
    seed: int
    cycles: list[tuple[int, int, int] | None] = field(default_factory=list)
    settings: dict[str, int] = field(
        default_factory=lambda: {"mode": 0, "interval": 0, "pause": 0, "clear": 0}
    )
    told: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = ScratchpadModel(self.ports.config)
        self.noise = random.Random(self.seed)

    def cycle(self, **streams: Any) -> dict[str, Any]:
        """One cycle; streams that are not named are idle."""
        inputs: dict[str, Any] = {"request": None, "give": None, "back": None, "inject": None}
        inputs |= {"command": {}, **self.settings, **streams}
        word = self.ports.pack(inputs, self.noise)
        out = self.model.step(inputs)
        if inputs["back"] is None:
            out["ready"]["back"] = None
        for n in self.ports.block.heads:
            if n not in inputs["command"]:
                out["ready"][n] = None
        self.cycles.append((word, *self.ports.expect(out)))
        self.told = out
        return out

    def reset(self) -> None:
        """Reset in the middle of whatever goes on."""
        self.cycles.append(None)
        self.model.reset()

    def idle(self, cycles: int) -> list[dict[str, Any]]:
        """Nothing is asked."""
        return [self.cycle() for _ in range(cycles)]

    def do(self, name: str, payload: Mapping[str, int], *, most: int = 400) -> dict[str, Any]:
        """Offer until it is accepted; ``name`` of a stream, or ``command`` and a number."""
        key: Any = int(name[7:]) if name.startswith("command") else name
        for _ in range(most):
            out = self.cycle(
                **({name: payload} if isinstance(key, str) else {"command": {key: payload}})
            )
            if out["ready"][key]:
                return out
        raise AssertionError(f"{name} {payload} was not accepted within {most} cycles")

    def access(self, place: Place | int, data: int | None = None, **fields: int) -> dict[str, Any]:
        """A request, and its response."""
        config = self.ports.config
        address = place if isinstance(place, int) else config.address(*place)
        request = {
            "write": int(data is not None),
            "address": address,
            "data": data or 0,
            "mask": (1 << config.bytes) - 1,
            "poison": 0,
            **fields,
        }
        self.do("request", request)
        for out in self.idle(config.response_cycles):
            if out["response"]:
                return out["response"]
        raise AssertionError("no response in time")

    def flip(self, place: Place, bits: int) -> None:
        """Flip stored bits, and wait until it is done."""
        self.do("inject", {"address": self.ports.config.address(*place), "flip": bits})
        for _ in range(200):
            if self.cycle()["injected"]:
                return
        raise AssertionError("the injection never ended")

    def ready(self) -> None:
        """Wait for the fill."""
        while not self.told.get("ready", {}).get("request"):
            self.cycle()


def build_scratchpad(config: ScratchpadConfig, folder: Path) -> tuple[Ports, Simulation]:
    """The block compiled with Verilator."""
    block = Scratchpad(config)
    ports = Ports(block)
    design = emit_design(block, "dut")
    text = design.verilog() + ports.wrapper(design.top)
    streams = [StreamPort("i", ports.in_bits, has_ready=False)]
    outputs = [StreamPort("o", ports.out_bits, has_ready=False)]
    return ports, build(text, "top", streams, outputs, folder)


def scratchpad(name: str, factory: Any) -> tuple[Ports, Simulation]:
    """One of :data:`CONFIGS`, compiled once for all tests."""
    base: Path = factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base
    return build_scratchpad(CONFIGS[name], shared / "scratchpads")


def play(simulation: Simulation, session: Session) -> list[str]:
    """Run it; differences to the model, by cycle."""
    script = Script()
    for cycle in session.cycles:
        if cycle is None:
            script.reset(3)
        else:
            script.send("i", cycle[0])
    transfers = simulation.run([script]).transfers
    came = {t.cycle: t.payload for t in transfers["o"]}
    got = [came[t.cycle] for t in transfers["i"]]
    return differences(session, got)


def in_amaranth(block: Scratchpad, ports: Ports, session: Session) -> list[str]:
    """The same in Amaranth's simulator; a session without resets."""
    got: list[int] = []

    async def bench(ctx: Any) -> None:
        for cycle in session.cycles:
            assert cycle is not None
            for name, (at, width) in ports.inputs.items():
                ctx.set(ports.signals[name], cycle[0] >> at & (1 << width) - 1)
            word = 0
            for name, (at, _) in ports.outputs.items():
                word |= (ctx.get(ports.signals[name])) << at
            got.append(word)
            await ctx.tick()

    simulate(block, bench, deadline_cycles=len(session.cycles) + 10)
    return differences(session, got)


def differences(session: Session, got: Sequence[int]) -> list[str]:
    """Where the outputs are not what they must be."""
    expected = [cycle for cycle in session.cycles if cycle is not None]
    assert len(got) == len(expected)
    return [
        f"cycle {n}: {session.ports.describe((word ^ value) & care)}"
        for n, (word, (_, value, care)) in enumerate(zip(got, expected, strict=True))
        if (word ^ value) & care
    ]
