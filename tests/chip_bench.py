"""Random DMA programs on the whole: real controller, memory and scratchpad, and a host at AXI."""

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
from axi_bench import AxiSimulation
from dma_bench import LOCAL, MEMORY, SMALL, Played, _flat
from dma_programs import Programs
from dram_traces import SHAPE, TIGHT

from systolith.array.geometry import ArrayConfig
from systolith.benches.chip_design import ChipDesign
from systolith.devices.dram import device_verilog
from systolith.devices.player import Op
from systolith.emit.verilog import Design
from systolith.golden.dma import Code, Region, Request, Retired, Space
from systolith.harness.script import Script
from systolith.memory.dma.descriptor import list_layout, retired_layout
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.scratchpad_config import ScratchpadConfig

__all__ = ["ChipPlayer", "ChipPrograms", "chip", "played", "region_words", "simulation"]

CONTROLLER = ControllerConfig(
    organisation=replace(SHAPE, rows=128),
    timing=TIGHT,
    streams=3,
    visits=2,
    ecc="word-266-poison",
)
SCRATCHPAD = ScratchpadConfig.of(
    ArrayConfig(rows=2, cols=2, row_bands=2, col_bands=2, tile=1), "acts", depth=64, bytes=32
)
HALF = 64  # words that change hands together; the host has the upper ones


def chip(*, slots: Literal[1, 4] = 1, data_bits: int = 256) -> ChipDesign:
    """A memory in which rows age quickly, and an engine that runs full often."""
    controller = replace(CONTROLLER, slots=slots)
    dma = replace(SMALL, atom_bits=CONTROLLER.atom_bits)
    return ChipDesign(controller, dma, SCRATCHPAD, data_bits=data_bits)


def simulation(design: ChipDesign, folder: Path) -> AxiSimulation:
    """As one module but the storage: compiled in a quarter of the time."""
    with patch.object(Design, "verilog", _flat):
        text = device_verilog(design, "dut")
    return AxiSimulation(design, folder, text=text)


def region_words(design: ChipDesign, regions: list[Region]) -> int:
    """Table of regions."""
    named = [
        {n: int(getattr(r, n)) for n in ("local", "read", "write", "base", "limit")}
        for r in regions
    ]
    named += [{}] * (design.dma.regions - len(named))
    layout: Any = design.regions.shape()
    return int(layout.const(named).as_value().value)


class ChipPlayer:
    """Takes what the programs say to the engine's own bench, and says it to the whole.

    Memories have no manners here, and words are refused by halves, see ``refuse``.
    """

    def __init__(self, folder: Path, **kind: Any) -> None:
        self.design = design = chip(**kind)
        self.config = design.dma
        self.simulation = simulation(design, folder)
        self.programs: ChipPrograms | None = None
        self.words = design.boundary * self.config.atom  # address on the bus
        self.seed, self.found = 0, dict[str, Any]()

    def send(self, script: Script, stream: str, **values: Any) -> None:
        layouts: dict[str, Any] = {"lists": list_layout()}
        layouts |= {name: self.design.scratchpad.token for name in ("give", "back")}
        script.send(stream, int(layouts[stream].const(values).as_value().value))

    def control(self, script: Script, *, most: int, list_region: int, **_: Any) -> None:
        _add(script, "set", "most", f"{most:x}")
        _add(script, "set", "list_region", f"{list_region:x}")
        if self.programs:
            self.programs.refuse(script)

    def regions(self, script: Script, regions: list[Region]) -> None:
        _add(script, "set", "regions", f"{region_words(self.design, regions):x}")

    def poke(self, script: Script, space: Space, words: Any, *, local: bool) -> None:
        atom = self.config.atom
        runs: list[tuple[bool, list[int]]] = []
        for at in words:
            bad = bool(space.poison[at])
            if runs and runs[-1] == (bad, list(range(runs[-1][1][0], at))):
                runs[-1][1].append(at)
            else:
                runs.append((bad, [at]))
        for bad, rows in runs:
            kind, image = "poison" if bad else "write", space.data[rows].tobytes()
            _add(script, kind, rows[0] * atom + local * self.words, image.hex())

    def dump(self, script: Script) -> None:
        if self.programs:
            self.programs.give_back(script)
        _add(script, "dump", 0, MEMORY * self.config.atom)
        _add(script, "dump", self.words, LOCAL * self.config.atom)

    def play(self, scripts: list[Script]) -> Played:
        atom = self.config.atom
        host = self.words + LOCAL * atom
        spans = [
            [[MEMORY * atom, 2048]],
            [[host, 4096]],
            [[self.words - 256, 256], [host + 4096, 4096]],
        ]
        steps = [_said(step) for script in scripts for step in script.steps]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "steps.json"
            path.write_text(json.dumps([step for step in steps if step != ["idle", 0]]))
            self.found = self.simulation.run(
                "chip_play", "program", path=str(path), spans=spans, seed=self.seed
            )
        return played(self.design, self.found)


def _add(script: Script, *step: Any) -> None:
    script.steps.append(step)  # type: ignore[arg-type]


def _said(step: Any) -> list[Any]:
    if isinstance(step, tuple):
        return list(step)
    if step.op is Op.SEND:
        return ["send", step.stream, f"{step.value:x}"]
    return [step.op.name.lower(), step.value]


def played(design: ChipDesign, found: dict[str, Any]) -> Played:
    """What the simulation told, as the engine's own bench would tell it."""
    retired: Any = retired_layout(design.dma)
    result = Played(status={name: 1 for name in found["faults"]})
    result.retired_at, result.sent_at = found["retired_at"], found["sent_at"]
    for text in found["retired"]:
        word = retired.from_bits(int(text, 16))
        code = Code(int(word.code))
        result.retired.append(Retired(int(word.tag), bool(int(word.listed)), code, int(word.atoms)))
    asked: Any = design.asked.shape()["request"].shape
    for text in found["asked"]:
        word = asked.from_bits(int(text, 16))
        result.requests.append(Request(bool(int(word.write)), int(word.atom), int(word.count)))
    for image, answers in found.get("images", []):
        data = np.frombuffer(bytes.fromhex(image), np.uint8).reshape(-1, design.dma.atom)
        bad = np.repeat([answer != "0" for answer in answers], 1024 // design.dma.atom)
        # Bad atoms are read as zeros; no other atom of a program is zero.
        result.images.append((data, bad[: len(data)] & (data == 0).all(axis=1)))
    return result


class ChipPrograms(Programs):
    """Programs on the whole: halves that are the array's are what the scratchpad refuses."""

    def __init__(self, player: ChipPlayer, seed: int) -> None:
        super().__init__(player, seed)  # type: ignore[arg-type]
        self.draw = random.Random(seed)
        self.given: dict[str, int] | None = None
        self.chip, player.programs, player.seed = player, self, seed

    def refuse(self, script: Script) -> None:
        """Give a half to the array, now and then."""
        refused = self.model.local.refused
        refused[:] = False
        if self.draw.random() < 0.4:
            number = self.draw.randrange(LOCAL // HALF)
            refused[HALF * number : HALF * (number + 1)] = True
            self.given = {"groups": 1 << number // 2, "half": number % 2}
            self.chip.send(script, "give", **self.given)

    def give_back(self, script: Script) -> None:
        if self.given:
            self.chip.send(script, "back", **self.given)
        self.given = None

    def check(self, played: Played) -> list[str]:
        """What is wrong, with what the host saw."""
        found = self.chip.found
        for data, poison in self.case.images:
            data[poison] = 0
        wrong = super().check(played)
        wrong += [*found["rules"], *found["faults"], *found["host"]]
        wrong += [f"{name}: {count}" for name, count in found["memory"].items()]
        if found["refused"]:
            wrong.append(f"{found['refused']} words of the host were refused")
        return wrong
