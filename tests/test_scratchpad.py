"""The scratchpad against its golden model, and both against what was written."""

import random
import subprocess
from itertools import product
from pathlib import Path

import pytest
from scratchpad_bench import CONFIGS, Ports, Session, in_amaranth, play, scratchpad
from scratchpad_programs import random_program

from systolith.array.geometry import ArrayConfig
from systolith.emit.files import WAIVERS
from systolith.emit.verilog import emit_design
from systolith.harness.toolchain import verilator
from systolith.memory.scratchpad import PortRefusal, Scratchpad
from systolith.memory.scratchpad_commands import Refusal
from systolith.memory.scratchpad_config import ScratchpadConfig
from systolith.memory.scratchpad_modes import bank_of_step

Factory = pytest.TempPathFactory

ARRAY = ArrayConfig(rows=4, cols=4, row_bands=2, col_bands=2, tile=1)
DEFAULT = ("small",)
each_config = pytest.mark.parametrize(
    "name",
    [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS],
)


# -- random programs


@pytest.mark.cosim
@each_config
def test_random_programs(name: str, tmp_path_factory: Factory) -> None:
    ports, simulation = scratchpad(name, tmp_path_factory)
    session = Session(ports, seed=1)
    happened = random_program(session, 10_000, resets=2)
    assert play(simulation, session) == []
    config = ports.config
    wanted = {"responses", "errors", "refused owner", "lane words", "lane errors", "injected"}
    wanted |= {"give_refused", "back_refused", "mode changes", "command refused 1"}
    wanted |= {f"command refused {code:d}" for code in (Refusal.NO_HEAD, Refusal.OWNER)}
    if config.ecc:
        wanted |= {"lane corrections", "repaired"}
    if config.partial == "refuse":
        wanted.add("refused mask")
    if config.depth & (config.depth - 1):
        wanted |= {"refused range", "inject_refused"}
    if config.rotation:
        wanted.add(f"command refused {Refusal.SHAPE:d}")
    assert [key for key in sorted(wanted) if not happened.get(key)] == []


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_long_random_programs(name: str, seed: int, tmp_path_factory: Factory) -> None:
    ports, simulation = scratchpad(name, tmp_path_factory)
    session = Session(ports, seed=seed)
    random_program(session, 100_000, resets=20)
    assert play(simulation, session) == []


@pytest.mark.parametrize("name", ["small", pytest.param("odd", marks=pytest.mark.slow)])
def test_random_program_in_amaranth(name: str) -> None:
    """Not the emitted Verilog, but what it is emitted from."""
    block = Scratchpad(CONFIGS[name])
    ports = Ports(block)
    session = Session(ports, seed=4)
    random_program(session, 500)
    assert in_amaranth(block, ports, session) == []


# -- time


@pytest.mark.cosim
def test_fill_and_latencies(tmp_path_factory: Factory) -> None:
    """After reset nothing is accepted for ``init_cycles``; then every word is zero."""
    ports, simulation = scratchpad("small", tmp_path_factory)
    config, session = ports.config, Session(ports, seed=5)
    waits = [session.cycle()["ready"]["request"] for _ in range(config.init_cycles + 1)]
    assert waits == [False] * config.init_cycles + [True]

    addresses = [
        config.address(*place)
        for place in product(range(config.banks), range(2), range(config.depth))
    ]
    answers = [session.cycle(request=_read(address)) for address in addresses]
    assert all(out["ready"]["request"] for out in answers)
    answers += session.idle(config.response_cycles)
    came = [(n, out["response"]) for n, out in enumerate(answers) if out["response"]]
    assert [n for n, _ in came] == [n + config.response_cycles for n in range(len(addresses))]
    assert all((r["data"], r["error"], r["refused"]) == (0, 0, 0) for _, r in came)

    # Writes of whole code words are as fast; others read first.
    full = (1 << config.bytes) - 1
    for mask, cycles in ((full, 1), (0xFF, 1), (0, 1), (0x0F, config.rmw_cycles)):
        session.cycle(request=_read(0) | {"write": 1, "mask": mask})
        taken = 1
        while not session.cycle()["ready"]["request"]:
            taken += 1
        assert taken == cycles
    assert play(simulation, session) == []


def _read(address: int) -> dict[str, int]:
    return {"write": 0, "address": address, "data": 0, "mask": 0, "poison": 0}


# -- owners


@pytest.mark.cosim
def test_a_half_has_one_owner(tmp_path_factory: Factory) -> None:
    ports, simulation = scratchpad("small", tmp_path_factory)
    config, session = ports.config, Session(ports, seed=6)
    session.ready()
    everything = (1 << config.groups) - 1
    assert not session.access((0, 0, 1), 7)["refused"]
    head = {"base": 0, "half": 0, "count": 4}
    session.do("command0", head)
    assert session.cycle()["command_refused"] == {0: Refusal.OWNER}
    # A request that is accepted with the token is behind it.
    out = session.cycle(
        give={"groups": everything, "half": 0}, request=_read(config.address(0, 0, 1))
    )
    assert out["ready"]["give"] and out["ready"]["request"]
    answers = session.idle(config.response_cycles)
    assert answers[-1]["response"]["code"] == PortRefusal.OWNER
    assert not session.access((0, 1, 1), 8)["refused"]  # the other half
    assert session.access((0, 0, 1), 9)["code"] == PortRefusal.OWNER

    # The array hands over what it reads: the token waits for the last lane group.
    session.do("command0", head)
    waited = 0
    while not session.cycle(back={"groups": everything, "half": 0})["ready"]["back"]:
        waited += 1
    part = config.modes[0].arrays[0]
    assert waited == head["count"] + (len(part.banks) - 1) * config.spacing
    assert session.access((0, 0, 1))["data"] == 7
    for token in ({"groups": 1, "half": 0}, {"groups": 0, "half": 1}):
        session.do("back", token)
        assert session.cycle()["back_refused"]
    session.do("give", {"groups": 0, "half": 1})
    assert session.cycle()["give_refused"]
    assert play(simulation, session) == []


@pytest.mark.cosim
def test_a_token_waits_for_a_write_that_reads_first(tmp_path_factory: Factory) -> None:
    ports, simulation = scratchpad("small", tmp_path_factory)
    config, session = ports.config, Session(ports, seed=7)
    session.ready()
    session.access((0, 0, 0), int.from_bytes(bytes(range(16)), "little"))
    write = _read(config.address(0, 0, 0)) | {"write": 1, "mask": 1, "data": 0xEE}
    session.do("request", write)
    waited = 0
    while not session.cycle(give={"groups": 15, "half": 0})["ready"]["give"]:
        waited += 1
    assert waited == config.rmw_cycles - 1
    session.do("command0", {"base": 0, "half": 0, "count": 1})
    words = [out["lane"][0].data for out in session.idle(20) if 0 in out["lane"]]
    assert words == [int.from_bytes(bytes([0xEE, *range(1, 16)]), "little")]
    assert play(simulation, session) == []


@pytest.mark.cosim
def test_reset_in_the_middle(tmp_path_factory: Factory) -> None:
    """Of a write that reads first, a command, an injection and a token at once."""
    ports, simulation = scratchpad("small", tmp_path_factory)
    config, session = ports.config, Session(ports, seed=8)
    for wait in range(12):
        session.ready()
        session.do("give", {"groups": 15, "half": 1})
        session.cycle(
            request=_read(0) | {"write": 1, "mask": 2},
            command={0: {"base": 0, "half": 1, "count": 8}},
            inject={"address": config.address(1, 1, 1), "flip": 3},
            back={"groups": 15, "half": 1},
        )
        session.idle(wait)
        session.reset()
    session.ready()
    assert session.told["owned"] == [0, 0]
    for place in ((0, 0, 0), (1, 1, 1)):
        assert session.access(place) | {"code": None} == session.access((0, 1, 0)) | {
            "address": config.address(*place)
        }
    assert play(simulation, session) == []


# -- splits


def _label(place: tuple[int, int, int], config: ScratchpadConfig) -> int:
    return random.Random(str(place)).getrandbits(8 * config.bytes)


def _filled(ports: Ports, seed: int) -> Session:
    """Every word has its label, and the array owns everything."""
    config, session = ports.config, Session(ports, seed=seed)
    session.ready()
    for place in product(range(config.banks), range(2), range(config.depth)):
        request = _read(config.address(*place)) | {"write": 1, "data": _label(place, config)}
        session.cycle(request=request | {"mask": (1 << config.bytes) - 1})
    for half in (0, 1):
        session.do("give", {"groups": (1 << config.groups) - 1, "half": half})
    return session


@pytest.mark.cosim
@each_config
def test_every_split(name: str, tmp_path_factory: Factory) -> None:
    """All sub-arrays at once: every lane group gets the words of its banks, on time."""
    ports, simulation = scratchpad(name, tmp_path_factory)
    config, session = ports.config, _filled(ports, seed=9)
    for number, mode in enumerate(config.modes):
        session.settings["mode"] = number
        session.idle(2 * config.chain * config.spacing)
        got: dict[int, list[int]] = {}
        heads = {part.first // config.segment: part for part in mode.arrays}
        session.cycle(
            command={
                n: {"base": 0, "half": n & 1, "count": config.depth * part.pool}
                for n, part in heads.items()
            }
        )
        longest = config.depth * config.most_pool + config.banks * config.spacing
        for out in session.idle(config.read_cycles + longest):
            for lane, found in out["lane"].items():
                got.setdefault(lane, []).append(found.data)
        expected = {
            lane: [
                _label((bank, n & 1, word), config)
                for bank in banks
                for word in range(config.depth)
            ]
            for n, part in heads.items()
            for lane, banks in zip(part.lanes, part.banks, strict=True)
        }
        assert got == expected
        others = set(range(config.groups)) - set(heads)
        for n in others:
            session.do(f"command{n}", {"base": 0, "half": 0, "count": 1})
            assert session.cycle()["command_refused"] == {n: Refusal.NO_HEAD}
    assert play(simulation, session) == []


@pytest.mark.cosim
@pytest.mark.parametrize("name", ["odd", pytest.param("acts-2", marks=pytest.mark.slow)])
def test_rotated_tiles(name: str, tmp_path_factory: Factory) -> None:
    """A tile that is stored once is read by rows and by columns, in every split."""
    ports, simulation = scratchpad(name, tmp_path_factory)
    config = ports.config
    odd = config.spacing % 2
    for number, mode in enumerate(config.modes):
        session = Session(ports, seed=10)
        session.settings["mode"] = number
        session.ready()
        part = mode.arrays[-1]
        size = len(part.banks)
        tiles = config.depth * part.pool // size
        for tile, row, col in product(range(tiles), range(size), range(size)):
            lane = bank_of_step(row, col, size, spacing=config.spacing, turned=False)
            index, word = divmod(tile * size + (col if odd else row), config.depth)
            place = (part.banks[lane][index], 0, word)
            label = _label((tile, row, col), config)
            assert not session.access(place, label)["refused"]
        session.do("give", {"groups": (1 << config.groups) - 1, "half": 0})
        for turned in (0, 1):
            got: dict[int, list[int]] = {}
            head = part.first // config.segment
            command = {"base": 0, "half": 0, "count": tiles * size, "rotate": 1, "turned": turned}
            outs = [session.do(f"command{head}", command), *session.idle(60 + tiles * size)]
            for out in outs:
                for lane, found in out["lane"].items():
                    got.setdefault(lane - part.first, []).append(found.data)
            assert got == {
                lane: [
                    _label((tile, lane, s) if turned else (tile, s, lane), config)
                    for tile in range(tiles)
                    for s in range(size)
                ]
                for lane in range(size)
            }
        assert play(simulation, session) == []


@pytest.mark.cosim
@pytest.mark.parametrize("name", ["acts-2", pytest.param("weights", marks=pytest.mark.slow)])
def test_verilator_lint(name: str, tmp_path: Path) -> None:
    design = emit_design(Scratchpad(CONFIGS[name]), "pad")
    text = design.verilog()
    assert emit_design(Scratchpad(CONFIGS[name]), "pad").verilog() == text
    (tmp_path / "pad.v").write_text(text)
    (tmp_path / "pad.vlt").write_text(WAIVERS)
    run = subprocess.run(
        [verilator().path, "--lint-only", "-Wall", "--top", design.top, "pad.vlt", "pad.v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
