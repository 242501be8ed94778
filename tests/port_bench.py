"""Play requests on port buffers with controller and memory, and check every atom."""

import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from systolith.benches.axi_back import told_layout
from systolith.benches.axi_ports import PortPlayer, gates_layout
from systolith.devices.dram import device_verilog
from systolith.devices.streams import StreamPort
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.memory.hbm.config import ControllerConfig

__all__ = ["PortBench", "Request", "Result", "random_requests"]


@dataclass(frozen=True)
class Request:
    port: int
    write: bool
    atom: int
    count: int
    masks: tuple[int, ...] = ()  # of a write, an atom each; () is all bytes


@dataclass
class Result:
    wrong: list[str] = field(default_factory=list)
    told: dict[str, int] = field(default_factory=dict)
    errors: int = 0
    beats: list[list[int]] = field(default_factory=list)  # cycles of read data, per port
    done: list[list[int]] = field(default_factory=list)


class PortBench:
    def __init__(self, config: ControllerConfig, folder: Path, *, ports: int, **sizes: Any) -> None:
        self.config, self.ports = config, ports
        top = PortPlayer(config, ports, **sizes)
        port = top.buffers[0].port
        self.layouts: dict[str, Any] = {
            name: getattr(port, name).payload.shape() for name in ("request", "write", "read")
        }
        verilog, name = device_verilog(top, "dut")
        inputs = [StreamPort("gates", gates_layout().size, has_ready=False)]
        outputs = [StreamPort("told", told_layout().size, has_ready=False)]
        for n in range(ports):
            inputs += [StreamPort(f"{k}{n}", self.layouts[k].size) for k in ("request", "write")]
            for kind, width in (
                ("taken", self.layouts["request"].size),
                ("read", self.layouts["read"].size),
                ("done", 1),
            ):
                outputs.append(StreamPort(f"{kind}{n}", width, has_ready=False))
        self.simulation: Simulation = build(verilog, name, inputs, outputs, folder)

    def gates(self, **modes: int) -> int:
        return int(gates_layout().const(modes).as_value().value)

    def data(self, seed: int, request: int, n: int) -> int:
        return random.Random(f"{seed} {request} {n}").getrandbits(8 * self.config.organisation.atom)

    def play(
        self,
        requests: list[Request],
        *,
        seed: int = 1,
        gates: dict[str, int] | None = None,
        steps: dict[int, dict[str, int]] | None = None,
        waits: dict[int, tuple[str, int]] | None = None,
        rest: int = 500,
        deadline: int = 30_000,
    ) -> Result:
        """Requests of different ports touch different atoms.

        Before a request come its ``waits``, for transfers of an output, then its ``steps``, gates.
        """
        script = Script().send("gates", self.gates(**(gates or {})))
        atom = self.config.organisation.atom
        for n, r in enumerate(requests):
            if waits and n in waits:
                script.wait(*waits[n])
            if steps and n in steps:
                script.send("gates", self.gates(**steps[n]))
            word = {"write": int(r.write), "atom": r.atom, "count": r.count}
            parts = [("request", word)]
            if r.write:
                for k in range(r.count):
                    mask = r.masks[k] if r.masks else (1 << atom) - 1
                    parts.append(("write", {"data": self.data(seed, n, k), "mask": mask}))
            if n % 3 == 0:  # data before their request
                parts.append(parts.pop(0))
            for name, payload in parts:
                value = self.layouts[name].const(payload).as_value().value
                script.send(f"{name}{r.port}", int(value))
        for p in range(self.ports):
            mine = [r for r in requests if r.port == p]
            script.wait(f"read{p}", sum(r.count for r in mine if not r.write))
            script.wait(f"done{p}", sum(r.write for r in mine))
        script.idle(rest)
        found = self.simulation.run([script], deadline=deadline)
        return self._check(requests, seed, found.transfers)

    def _check(self, requests: list[Request], seed: int, transfers: Any) -> Result:
        result, atom = Result(), self.config.organisation.atom
        reads = [deque(transfers[f"read{p}"]) for p in range(self.ports)]
        known: dict[int, int] = {}
        writes = [0] * self.ports
        for n, r in enumerate(requests):
            writes[r.port] += r.write
            for k in range(r.count):
                at = r.atom + k
                if r.write:
                    bits = r.masks[k] if r.masks else (1 << atom) - 1
                    mask = sum(255 << 8 * b for b in range(atom) if bits >> b & 1)
                    if at not in known and bits + 1 != 1 << atom:
                        known.pop(at, None)  # what was there is not known
                        continue
                    known[at] = known.get(at, 0) & ~mask | self.data(seed, n, k) & mask
                    continue
                if not reads[r.port]:
                    result.wrong.append(f"{n} {r}: nothing for atom {at}")
                    return result
                word: Any = self.layouts["read"].from_bits(reads[r.port].popleft().payload)
                if int(word.last) != (k == r.count - 1):
                    result.wrong.append(f"{n} {r}: atom {at} is last: {int(word.last)}")
                if int(word.error):
                    result.errors += 1
                elif known.setdefault(at, int(word.data)) != int(word.data):
                    result.wrong.append(f"{n} {r}: atom {at} differs")
        for p in range(self.ports):
            if reads[p]:
                result.wrong.append(f"port {p}: {len(reads[p])} atoms too many")
            done = transfers[f"done{p}"]
            if len(done) != writes[p]:
                result.wrong.append(f"port {p}: {len(done)} done of {writes[p]} writes")
            result.beats.append([t.cycle for t in transfers[f"read{p}"]])
            result.done.append([t.cycle for t in done])
        for t in transfers["told"]:
            word = told_layout().from_bits(t.payload)
            result.told = {n: int(word[n]) for n in dict(iter(told_layout()))}
        return result


def random_requests(
    config: ControllerConfig, *, seed: int, number: int, ports: int, longest: int, masked: bool
) -> list[Request]:
    """Each port in its part of the memory, which it writes in full first."""
    draw = random.Random(seed)
    atom = config.organisation.atom
    apart = (1 << config.atom_bits) // ports
    size = min(192, apart)
    full = (1 << atom) - 1
    requests = [Request(p, True, p * apart, size) for p in range(ports)]
    for _ in range(number):
        port, write = draw.randrange(ports), draw.random() < 0.5
        count = min(size, draw.choice([1, 1, 2, 3, 16, draw.randint(1, longest)]))
        at = draw.choice([0, min(1, size - count), draw.randrange(size - count + 1)])
        masks: tuple[int, ...] = ()
        if write and masked and draw.random() < 0.7:
            dense = draw.random()
            masks = tuple(
                full if draw.random() < dense else draw.choice([0, 1, draw.getrandbits(atom)])
                for _ in range(count)
            )
        requests.append(Request(port, write, port * apart + at, count, masks))
    return requests
