"""ECP5 leaves against the portable ones, on models of the vendor's blocks."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from fpga_leaves import mac_leaf, multiplier_leaf, portable, sram_leaf

from systolith.flow.script import leaf_verilog
from systolith.harness.toolchain import verilator as find_verilator

# Yosys has the blocks of ECP5 as empty boxes only. These two models were written for this test from
# the vendor's memory and DSP usage guides, for the settings that the replacements use. A read of
# the word that is being written gives zeros, which no correct user sees.
ECP5_MODELS = """
module MULT18X18D({mult_ports});
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTB_CLK = "NONE";
    parameter REG_PIPELINE_CLK = "NONE", REG_OUTPUT_CLK = "NONE";
    input {mult_inputs};
    output {mult_outputs};
    wire signed [18:0] a = {{SIGNEDA & A17, {a}}}, b = {{SIGNEDB & B17, {b}}};
    reg signed [18:0] ra, rb;
    wire signed [18:0] ia = REG_INPUTA_CLK == "CLK0" ? ra : a;
    wire signed [18:0] ib = REG_INPUTB_CLK == "CLK0" ? rb : b;
    wire [35:0] product = ia * ib;
    reg [35:0] rp, ro;
    wire [35:0] pipeline = REG_PIPELINE_CLK == "CLK0" ? rp : product;
    assign {{{p}}} = REG_OUTPUT_CLK == "CLK0" ? ro : pipeline;
    always @(posedge CLK0) if (CE0) begin
        ra <= a; rb <= b; rp <= product; ro <= pipeline;
    end
endmodule

module DP16KD({ram_ports});
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG";
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", RESETMODE = "SYNC", GSR = "AUTO";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
    localparam W = DATA_WIDTH_A;
    localparam SKIP = W == 36 ? 5 : W == 18 ? 4 : W == 9 ? 3 : W == 4 ? 2 : W == 2 ? 1 : 0;
    input {ram_inputs};
    output {ram_outputs};
    reg [35:0] words [0:16383];
    integer i;
    initial for (i = 0; i < 16384; i = i + 1) words[i] = 0;
    wire [13:0] wa = {{{ada}}} >> SKIP, ra = {{{adb}}} >> SKIP;
    wire [35:0] data = {{{dib}, {dia}}};
    wire [3:0] groups = W >= 18 ? {{ADA3, ADA2, ADA1, ADA0}} & (W == 36 ? 4'd15 : 4'd3) : 4'd15;
    wire write = CEA & WEA & !(CSA0 | CSA1 | CSA2);
    reg [35:0] early, late;
    always @(posedge CLKA) if (write)
        for (i = 0; i < 4; i = i + 1) if (groups[i]) words[wa][9 * i +: 9] <= data[9 * i +: 9];
    always @(posedge CLKB) begin
        if (CEB) early <= write && groups != 0 && wa == ra ? 0 : words[ra];
        if (OCEB) late <= early;
    end
    wire [35:0] q = REGMODE_B == "OUTREG" && REGMODE_A == REGMODE_B ? late : early;
    assign {{{doa}}} = W == 36 ? q[17:0] : 0;
    assign {{{dob}}} = W == 36 ? q[35:18] : q[17:0];
endmodule
"""


def ecp5_models() -> str:
    def bus(name: str, width: int) -> str:
        return ", ".join(f"{name}{bit}" for bit in reversed(range(width)))

    mult_inputs = ", ".join(
        [
            *(bus(name, 18) for name in "ABC"),
            *(bus(name, 4) for name in ("CLK", "CE", "RST")),
            *("SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB"),
        ]
    )
    ram_inputs = ", ".join(
        f"{bus(f'AD{s}', 14)}, {bus(f'DI{s}', 18)}, {bus(f'CS{s}', 3)}, "
        f"CLK{s}, CE{s}, OCE{s}, WE{s}, RST{s}"
        for s in "AB"
    )
    ram_outputs = f"{bus('DOA', 18)}, {bus('DOB', 18)}"
    return ECP5_MODELS.format(
        mult_ports=f"{mult_inputs}, {bus('P', 36)}",
        mult_inputs=mult_inputs,
        mult_outputs=bus("P", 36),
        a=bus("A", 18),
        b=bus("B", 18),
        p=bus("P", 36),
        ram_ports=f"{ram_inputs}, {ram_outputs}",
        ram_inputs=ram_inputs,
        ram_outputs=ram_outputs,
        ada=bus("ADA", 14),
        adb=bus("ADB", 14),
        dia=bus("DIA", 18),
        dib=bus("DIB", 18),
        doa=bus("DOA", 18),
        dob=bus("DOB", 18),
    )


ECP5_LEAVES = [
    mac_leaf(0), mac_leaf(1), mac_leaf(2), mac_leaf(3), mac_leaf(2, a=18, b=5),
    multiplier_leaf(11, 12), multiplier_leaf(18, 18), multiplier_leaf(1, 3),
    sram_leaf(512, 32), sram_leaf(100, 40, lanes=4), sram_leaf(64, 16, latency=1),
    sram_leaf(1024, 18, lanes=2), sram_leaf(2048, 9), sram_leaf(4096, 8, lanes=2),
    sram_leaf(9000, 4, latency=1), sram_leaf(5000, 6, lanes=3), sram_leaf(1500, 24, lanes=2),
    sram_leaf(700, 32, clears=True), sram_leaf(9000, 12, lanes=3, clears=True),
]  # fmt: skip


def comparison(index: int, leaf: dict[str, Any]) -> str:
    """Replacement against portable leaf, with random stimulus."""
    # Amaranth leaves out a clock that nothing uses when a block is converted on its own.
    clocked = ".clk(clk), .rst(1'b0), " if leaf.get("latency", 2) else ""
    if leaf["kind"] != "sram":
        a, b = leaf["a_width"], leaf["b_width"]
        corner = [f"{w}'d{1 << w - 1}" for w in (a, b)]
        drive = (
            f"reg [{a - 1}:0] a; reg [{b - 1}:0] b; wire [{a + b - 1}:0] x, y;\n"
            f"always @(posedge clk) begin a <= $urandom % 8 == 0 ? {corner[0]} : $urandom;"
            f" b <= $urandom % 8 == 0 ? {corner[1]} : $urandom; end\n"
        )
        pins, out = ".a(a), .b(b)", "p"
    else:
        depth, width, lanes = leaf["depth"], leaf["width"], leaf["lanes"]
        top = (depth - 1).bit_length() - 1
        words = -(-width // 32)
        drive = (
            f"reg c; reg [{lanes - 1}:0] e; reg [{top}:0] wa, ra; reg [{32 * words - 1}:0] d;\n"
            f"wire [{width - 1}:0] x, y; reg [31:0] w, r;\n"
            # Few words, spread over all rows, so that reads meet earlier writes.
            "always @(posedge clk) begin\n"
            f"w = ($urandom % 16) * {depth - 1} / 15; r = ($urandom % 16) * {depth - 1} / 15;\n"
            f"wa <= w; ra <= r; d <= {{{words}{{$urandom}}}}; e <= w == r ? 0 : $urandom;\n"
            "c <= $urandom % 4 == 0; end\n"
        )
        pins = f".w_en(e), .w_addr(wa), .w_data(d[{width - 1}:0]), .r_addr(ra)"
        pins += ", .r_clear(c)" if leaf["clears"] else ""
        out = "r_data"
    return (
        f"module check_{index}(input clk, input on); {drive}"
        f"new_{index} n(.clk(clk), .rst(1'b0), {pins}, .{out}(x));\n"
        f"old_{index} o({clocked}{pins}, .{out}(y));\n"
        f'always @(negedge clk) if (on && x !== y) $fatal(1, "leaf {index}: %h != %h", x, y);\n'
        "endmodule\n"
    )


@pytest.mark.synth
def test_ecp5_leaves_behave_like_the_portable_ones(tmp_path: Path) -> None:
    parts = [ecp5_models()]
    for index, leaf in enumerate(ECP5_LEAVES):
        new = leaf_verilog([{**leaf, "module": f"new_{index}"}], "ecp5")
        assert f"module new_{index}(" in new
        old = portable({**leaf, "module": f"old_{index}"})
        parts += [new, old, comparison(index, leaf)]
    checks = "".join(f"check_{i} c{i}(clk, on);" for i in range(len(ECP5_LEAVES)))
    parts.append(
        f"module bench; reg clk = 0, on = 0; {checks} always #1 clk = ~clk;\n"
        'initial begin #40 on = 1; #20000 $display("all equal"); $finish; end endmodule\n'
    )
    (tmp_path / "bench.sv").write_text("\n".join(parts))
    tool = find_verilator()
    command = [
        tool.path, "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "--flatten",
        "-CFLAGS", "-O0", "--top-module", "bench", "bench.sv",
    ]  # fmt: skip
    built = subprocess.run(
        command, cwd=tmp_path, env=tool.env, capture_output=True, text=True, timeout=240
    )
    assert built.returncode == 0, built.stderr[-2000:]
    run = subprocess.run(
        [str(tmp_path / "obj_dir" / "Vbench")], capture_output=True, text=True, timeout=120
    )
    assert "all equal" in run.stdout, run.stdout[-500:] + run.stderr[-500:]
