// Rows of a dynamic memory, for simulation: frames of one row, found by hashing bank and row.
//
// In a clock come `PORTS` accesses, in order, then a flip of stored bits, then decays of rows. What
// was never written reads as a hash of its address; of a row that decayed, what was not written
// since then reads as what it was, exclusive-or a hash that is not zero. A masked write keeps the
// bytes that would have been read. Check bits go with every write that has a byte.
//
// A frame is taken by the first write, flip or decay of a row and never given back. When none is
// free within `TRIES` places from where the hash points, the write is lost:
// `overflow` rises for good and, with `FATAL`, the simulation ends.

module dram_frames #(
  parameter PORTS = 1,
  parameter DECAYS = 1,      // rows that can decay in a clock
  parameter KEY_BITS = 19,   // bank and row
  parameter ATOM_BITS = 5,
  parameter ATOMS = 32,      // of a row
  parameter BYTES = 32,      // of an atom
  parameter CHECK_BITS = 0,  // of an atom, behind its bytes
  parameter FRAMES = 4096,   // a power of two
  parameter TRIES = 64,
  parameter GARBAGE = 1,     // check bits never written are a hash, too, and not zero
  parameter FATAL = 1
) (
  input clk,
  input rst,  // nothing happens; contents stay
  input [PORTS-1:0] enable,
  input [PORTS-1:0] write,
  input [PORTS*KEY_BITS-1:0] key,
  input [PORTS*ATOM_BITS-1:0] atom,
  input [PORTS*BYTES-1:0] mask,  // 1: the byte is written
  input [PORTS*(8*BYTES+CHECK_BITS)-1:0] wdata,
  output reg [PORTS*(8*BYTES+CHECK_BITS)-1:0] rdata,  // in the next clock
  input flip,
  input [KEY_BITS-1:0] flip_key,
  input [ATOM_BITS-1:0] flip_atom,
  input [8*BYTES+CHECK_BITS-1:0] flip_mask,
  input [DECAYS-1:0] decay,
  input [DECAYS*KEY_BITS-1:0] decay_key,
  output reg overflow
);
  localparam WIDTH = 8 * BYTES + CHECK_BITS;
  localparam WORDS = (WIDTH + 31) / 32;

  reg [KEY_BITS-1:0] keys [0:FRAMES-1];
  reg used [0:FRAMES-1];
  reg [ATOMS-1:0] written [0:FRAMES-1];
  reg [ATOMS-1:0] rotten [0:FRAMES-1];  // not written since the row decayed
  reg [7:0] decays [0:FRAMES-1];        // different each time: two decays do not cancel out
  reg [WIDTH-1:0] store [0:FRAMES*ATOMS-1];

  // Results of the tasks.
  reg found;
  reg [31:0] frame;
  reg [WIDTH-1:0] content;

  reg searching;
  reg [31:0] tries, address;
  reg [WIDTH-1:0] bits;
  integer index, byte_index;

  function [31:0] mix(input [31:0] seed);
    reg [31:0] x;
    begin
      x = (seed ^ (seed >> 16)) * 32'h6a09e667;
      x = (x ^ (x >> 15)) * 32'hbb67ae85;
      mix = x ^ (x >> 16);
    end
  endfunction

  function [WIDTH-1:0] noise(input [31:0] seed);
    reg [32*WORDS-1:0] words;
    integer word;
    begin
      for (word = 0; word < WORDS; word = word + 1)
        words[32*word +: 32] = mix(seed + word * 32'h9e3779b9);
      noise = words[WIDTH-1:0];
    end
  endfunction

  // The frame of a row; `claim` takes a new one if there is none.
  task find(input [KEY_BITS-1:0] wanted, input claim);
    begin
      frame = mix({{(32-KEY_BITS){1'b0}}, wanted}) & (FRAMES - 1);
      tries = 0;
      found = 1'b0;
      searching = 1'b1;
      while (searching) begin
        if (!used[frame]) begin
          searching = 1'b0;
          if (claim) begin
            used[frame] = 1'b1;
            keys[frame] = wanted;
            written[frame] = 0;
            rotten[frame] = 0;
            decays[frame] = 0;
            found = 1'b1;
          end
        end else if (keys[frame] == wanted) begin
          searching = 1'b0;
          found = 1'b1;
        end else begin
          frame = (frame + 1) & (FRAMES - 1);
          tries = tries + 1;
          if (tries == TRIES) searching = 1'b0;
        end
      end
      if (claim && !found) begin
        if (!overflow) $display("dram_frames: no frame is free for 0x%h (bank, row)", wanted);
        overflow <= 1'b1;
        if (FATAL != 0) $finish;
      end
    end
  endtask

  // What an atom reads as, of a row that `find` has looked for.
  task look(input [KEY_BITS-1:0] in_row, input [ATOM_BITS-1:0] place);
    begin
      address = {{(32-KEY_BITS){1'b0}}, in_row} * ATOMS + {{(32-ATOM_BITS){1'b0}}, place};
      if (found && written[frame][place]) begin
        content = store[frame * ATOMS + {{(32-ATOM_BITS){1'b0}}, place}];
      end else begin
        content = noise(address);
        if (GARBAGE == 0) content = content & ({WIDTH{1'b1}} >> CHECK_BITS);
      end
      if (found && rotten[frame][place]) begin
        bits = noise(address ^ {decays[frame], 24'b0});
        for (index = 0; index < WIDTH; index = index + 32) bits[index] = 1'b1;
        content = content ^ bits;
      end
    end
  endtask

  // The content of an atom, of a row that has a frame.
  task keep(input [ATOM_BITS-1:0] place);
    begin
      store[frame * ATOMS + {{(32-ATOM_BITS){1'b0}}, place}] = content;
      written[frame][place] = 1'b1;
      rotten[frame][place] = 1'b0;
    end
  endtask

  integer at;
  reg [KEY_BITS-1:0] row_key;
  reg [ATOM_BITS-1:0] row_atom;
  reg [BYTES-1:0] row_mask;
  reg change;

  initial begin
    overflow = 1'b0;
    for (at = 0; at < FRAMES; at = at + 1) used[at] = 1'b0;
  end

  // verilator lint_off BLKSEQ
  always @(posedge clk) if (!rst) begin
    for (at = 0; at < PORTS; at = at + 1) if (enable[at]) begin
      row_key = key[at*KEY_BITS +: KEY_BITS];
      row_atom = atom[at*ATOM_BITS +: ATOM_BITS];
      row_mask = mask[at*BYTES +: BYTES];
      change = write[at] && row_mask != 0;
      find(row_key, change);
      look(row_key, row_atom);
      rdata[at*WIDTH +: WIDTH] <= content;
      if (change && found) begin
        bits = wdata[at*WIDTH +: WIDTH];
        for (byte_index = 0; byte_index < BYTES; byte_index = byte_index + 1)
          if (!row_mask[byte_index]) bits[8*byte_index +: 8] = content[8*byte_index +: 8];
        content = bits;
        keep(row_atom);
      end
    end
    if (flip) begin
      find(flip_key, 1'b1);
      if (found) begin
        look(flip_key, flip_atom);
        content = content ^ flip_mask;
        keep(flip_atom);
      end
    end
    for (at = 0; at < DECAYS; at = at + 1) if (decay[at]) begin
      find(decay_key[at*KEY_BITS +: KEY_BITS], 1'b1);
      if (found) begin
        rotten[frame] = {ATOMS{1'b1}};
        decays[frame] = decays[frame] == 8'hff ? 8'h01 : decays[frame] + 8'h01;
      end
    end
  end
  // verilator lint_on BLKSEQ
endmodule
