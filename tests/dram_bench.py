"""Drive a device of dynamic memory: commands as early as they may come, and what comes back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dram_traces import earliest

from systolith.devices.dram import DramDevice, device_verilog
from systolith.devices.streams import StreamPort
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.memory.hbm.commands import COLUMN, Address, Command, Op
from systolith.memory.hbm.timing import rules

__all__ = ["Beat", "Bench", "Play", "Seen"]

COUNTS = ("violations", "late", "decayed", "overflow")


@dataclass(frozen=True)
class Beat:
    cycle: int
    port: int
    data: int
    check: int


@dataclass
class Seen:
    beats: list[Beat] = field(default_factory=list)
    violations: list[dict[str, int]] = field(default_factory=list)
    probes: list[dict[str, int]] = field(default_factory=list)


class Bench:
    """A device under the player: one word has everything that goes in, in a cycle.

    ``design`` is what :func:`device_verilog` gives, unless it is to be something else.
    """

    def __init__(
        self,
        device: DramDevice,
        folder: Path,
        *,
        simulator: str = "verilator",
        design: tuple[str, str] | None = None,
    ) -> None:
        self.device = device
        verilog, top = design or device_verilog(device, "dut")
        names = ("row", "column", "write", "flip", "lose", "extra", "delay")
        self.width, total, wires = {}, 0, []
        for name in names:
            port = getattr(device, name)
            self.width[name] = len(port.as_value() if hasattr(port, "as_value") else port)
            value = f"i__payload[{total} +: {self.width[name]}]"
            held = "held" if name == "delay" else f"{value} & {{{self.width[name]}{{i__valid}}}}"
            wires.append(f".{name}({held})")
            total += self.width[name]
        self.read, self.bad = (len(getattr(device, n).as_value()) for n in ("read", "violation"))
        valid = " | ".join(f"read[{p * self.read // device.ports}]" for p in range(device.ports))
        counts = ", ".join(reversed(COUNTS))
        text = f"""
module top(input clk, input rst, input [{total}:0] i__payload, input i__valid,
           output [{self.read - 1}:0] read__payload, output read__valid,
           output [{self.bad - 1}:0] bad__payload, output bad__valid,
           output [{self.read + 96}:0] probe__payload, output probe__valid);
    wire [{self.width["delay"] - 1}:0] held;
    reg [{self.width["delay"] - 1}:0] last = 0;
    assign held = i__valid ? i__payload[{total - 1} -: {self.width["delay"]}] : last;
    always @(posedge clk) last <= held;
    wire [{self.read - 1}:0] read;
    wire [31:0] violations, late, decayed;
    wire overflow;
    assign read__payload = read;
    assign read__valid = {valid};
    assign probe__payload = {{{counts}, read}};
    assign probe__valid = i__valid & i__payload[{total}];
    assign bad__valid = bad__payload[0];
    {top} dut(.clk(clk), .rst(rst), {", ".join(wires)}, .read(read), .violation(bad__payload),
        .violations(violations), .late(late), .decayed(decayed), .overflow(overflow));
endmodule
"""
        inputs = [StreamPort("i", total + 1, has_ready=False)]
        widths = {"read": self.read, "bad": self.bad, "probe": self.read + 97}
        outputs = [StreamPort(name, bits, has_ready=False) for name, bits in widths.items()]
        self.simulation: Simulation = build(
            verilog + text, "top", inputs, outputs, folder, simulator=simulator
        )

    def beats(self, word: int, cycle: int) -> Iterator[Beat]:
        """Beats of a cycle, the valid ones."""
        layout = self.device.read.shape().elem_shape
        for port in range(self.device.ports):
            beat = layout.from_bits(word >> port * layout.size & (1 << layout.size) - 1)
            if beat.valid:
                check = int(beat.check) if self.device.check_bits else 0
                yield Beat(cycle, port, int(beat.data), check)


class Play:
    """Commands as early as they may come, what goes with them, and what is expected back."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.device = bench, bench.device
        self.rules = rules(self.device.part.timing)
        self.trace: list[Command] = []
        self.least = 0
        self.words: dict[int, dict[str, int]] = {}

    def do(self, op: Op, *, to: int = 0, row: int = 0, column: int = 0, early: int = 0) -> int:
        """Give a command to bank ``to``; its clock. ``early`` is how much too early."""
        shape = self.device.part.organisation
        above, bank = divmod(to, shape.banks)
        sid, group = divmod(above, shape.groups)
        at = Address(sid=sid, group=group, bank=bank, row=row, column=column)
        clock = max(self.least, earliest(self.rules, self.trace, op, at) - early)
        self.trace.append(Command(clock, op, at))
        bus = "column" if op in COLUMN else "row"
        layout = getattr(self.device, bus).shape().elem_shape
        parts = ("sid", "group", "bank", bus)
        fields = {"valid": 1, "op": op, **{n: getattr(at, n) for n in parts}}
        fields = {n: v for n, v in fields.items() if layout[n].width}
        self._put(clock, bus, layout.const(fields).as_value().value, layout.size, 1)
        return clock

    def write(self, data: int, *, mask: int = -1, check: int = 0, **at: int) -> int:
        """Write; its clock."""
        clock = self.do(Op.WR, **at)
        layout = self.device.write.shape().elem_shape
        shape, fields = self.device.part.organisation, {"data": data}
        fields |= {"mask": mask & (1 << shape.atom) - 1} if shape.mask else {}
        fields |= {"check": check} if self.device.check_bits else {}
        value = layout.const(fields).as_value().value
        self._put(clock, "write", value, layout.size, self.device.slots // self.device.ports)
        return clock

    def fault(self, clock: int, **fields: int) -> None:
        """Flip a mask, lose or add a beat, or probe; in the cycle of a device clock."""
        word = self.words.setdefault(clock // self.device.slots, {})
        for name, value in fields.items():
            if name in ("flip", "persist"):
                layout = self.device.flip.shape()
                made = layout.const({"valid": 1, "persist": name == "persist", "mask": value})
                word["flip"] = made.as_value().value
            else:
                word[name] = value

    def until(self, clock: int) -> None:
        """No command before ``clock``."""
        self.least = max(self.least, clock)

    def wait(self, clocks: int) -> None:
        """Let clocks pass, from the last command on."""
        self.until(max(self.least, self.trace[-1].clock if self.trace else 0) + clocks)

    def _put(self, clock: int, port: str, value: int, width: int, slots: int) -> None:
        word = self.words.setdefault(clock // self.device.slots, {})
        word[port] = word.get(port, 0) | value << clock % self.device.slots // slots * width

    def run(self, *, delay: int = 0) -> Seen:
        """Play; what came out."""
        script, cycle = Script(), 0
        tail = self.device.latency + delay + 8
        self.words.setdefault(max(self.words) + tail, {})["probe"] = 1
        for at, word in sorted(self.words.items()):
            if at > cycle:
                script.idle(at - cycle)
            payload, shift = 0, 0
            for name, width in {**self.bench.width, "probe": 1}.items():
                payload |= (delay if name == "delay" else word.get(name, 0)) << shift
                shift += width
            script.send("i", payload)
            cycle = at + 1
        result = self.bench.simulation.run([script])
        seen = Seen()
        for transfer in result.transfers["read"]:
            seen.beats += self.bench.beats(transfer.payload, transfer.cycle)
        for transfer in result.transfers["bad"]:
            found = self.device.violation.shape().from_bits(transfer.payload)
            seen.violations.append({n: int(getattr(found, n)) for n in ("rule", "op", "second")})
        for transfer in result.transfers["probe"]:
            read, rest = transfer.payload % (1 << self.bench.read), transfer.payload
            rest >>= self.bench.read
            counts = {name: rest >> 32 * n & 0xFFFFFFFF for n, name in enumerate(COUNTS)}
            seen.probes.append({"read": read, **counts})
        return seen
