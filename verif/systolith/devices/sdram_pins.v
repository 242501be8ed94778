// An SDR SDRAM as seen from its pins, written from what data sheets say and from nothing else: it
// knows no table of the controller. Times are in picoseconds and counted by the device itself.
//
// It stores, answers after the CAS latency of its mode register, precharges on its own, refreshes
// row groups by a counter of its own, and forgets: a row whose group was not refreshed within
// RETENTION reads as something else. Whatever a data sheet forbids is counted and told by a code;
// what the memory then does is the nearest to what a real one might do. The bus is two vectors with
// an enable each; bytes that nobody drives are noise.
//
// Codes: 0 command before power was stable, 1 before or out of the initialisation, 2 tRCD, 3 tRP,
// 4 tRAS, 5 tRC, 6 tRRD, 7 tWR, 8 tRFC or tXSR, 9 tMRD, 10 activation of an open bank, 11 access to
// a closed bank, 12 refresh, mode or self-refresh with an open bank, 13 mode not supported, 14 both
// sides drive the bus, 15 write data not driven, 16 the bus driven for nothing, 17 clock enable,
// 18 self-refresh too short, 19 a group not refreshed in time, 20 a burst cut short, 21 reserved
// command, 22 clock too fast for the CAS latency.

module sdram_pins #(
  parameter BANK_BITS = 2,
  parameter ROW_BITS = 13,
  parameter COLUMN_BITS = 9,
  parameter ADDRESS_BITS = 13,
  parameter BYTES = 2,           // of a word
  parameter MASK = 1,            // there are DQM pins
  parameter REF_BITS = 13,       // of the refresh counter: 2**REF_BITS refreshes cover a bank
  parameter TCK = 7500,          // of the clock it is given
  parameter TCK2 = 10000,        // shortest period with CAS latency 2, and 3
  parameter TCK3 = 7500,
  parameter TPOWER = 100000000,
  parameter TRCD = 20000,
  parameter TRP = 20000,
  parameter TRAS = 44000,
  parameter TRC = 66000,
  parameter TRRD = 15000,
  parameter TWR = 15000,         // from the last word to a precharge
  parameter TRFC = 66000,
  parameter TXSR = 75000,
  parameter TMRD = 2,            // clocks
  parameter INIT_REFRESHES = 2,
  parameter RETENTION = 64000    // microseconds between two refreshes of a row
) (
  input clk,
  input far,                     // the data takes another clock to arrive
  input cke,
  input cs_n,
  input ras_n,
  input cas_n,
  input we_n,
  input [BANK_BITS-1:0] ba,
  input [ADDRESS_BITS-1:0] a,
  input [BYTES-1:0] dqm,
  input [8*BYTES-1:0] dq_i,      // what the other side drives
  input dq_oe,                   // it does
  output [8*BYTES-1:0] dq_o,     // what it sees
  output reg [31:0] violations,
  output reg [31:0] codes,       // a bit for each that occurred
  output reg [31:0] late,        // groups that were not refreshed in time
  output reg [31:0] refreshes,
  output reg [31:0] words        // moved, in both directions
);
  localparam BANKS = 1 << BANK_BITS;
  localparam ROWS = 1 << ROW_BITS;
  localparam COLUMNS = 1 << COLUMN_BITS;
  localparam GROUPS = 1 << REF_BITS;
  localparam WIDTH = 8 * BYTES;
  localparam DEPTH = 8;          // clocks that reads can be ahead of their data

  reg [WIDTH-1:0] store [0:BANKS*ROWS*COLUMNS-1];
  reg [7:0] seen [0:BANKS*ROWS-1];  // decays that the row has suffered
  reg [7:0] decays [0:GROUPS-1];
  reg [63:0] refreshed [0:GROUPS-1];
  reg overdue [0:GROUPS-1];

  reg [63:0] now, base, act_any, busy, left_self, slept;
  reg [31:0] mode_clocks;
  reg [63:0] act [0:BANKS-1];
  reg [63:0] pre [0:BANKS-1];
  reg [63:0] written [0:BANKS-1];
  reg [63:0] auto_at [0:BANKS-1];
  reg [BANKS-1:0] open, auto;
  reg [ROW_BITS-1:0] row [0:BANKS-1];

  reg awake, self, stable, closed_once, ready;
  reg [7:0] init_refreshes;
  reg [REF_BITS-1:0] turn, scan, group;
  reg [3:0] burst;               // words
  reg [2:0] latency;

  // The burst under way, and words on their way out; entry 0 is driven next.
  reg reading, writing, burst_auto;
  reg [3:0] done;
  reg [BANK_BITS-1:0] bank;
  reg [COLUMN_BITS-1:0] start, column;
  reg [DEPTH-1:0] out_valid;
  reg [WIDTH-1:0] out_word [0:DEPTH-1];
  reg [BYTES-1:0] dqm_before;
  reg driving, drove;
  reg [WIDTH-1:0] near_word, far_word;

  reg [31:0] violations_now, codes_now, late_now, refreshes_now, words_now;
  reg [31:0] noise;
  reg [63:0] noise_wide;
  reg [31:0] place;
  reg idle, all_closed, taken;
  reg [BANK_BITS:0] b;
  integer i;

  assign dq_o = far ? far_word : near_word;

  initial begin
    now = 0; base = 0; act_any = 0; busy = 0; left_self = 0; slept = 0; mode_clocks = 1000;
    open = 0; auto = 0; awake = 1; self = 0; stable = 0; closed_once = 0; ready = 0;
    init_refreshes = 0; turn = 0; scan = 0; burst = 8; latency = 3;
    reading = 0; writing = 0; burst_auto = 0; done = 0; bank = 0; start = 0; out_valid = 0;
    dqm_before = 0; driving = 0; drove = 0; noise = 32'h1234567;
    violations_now = 0; codes_now = 0; late_now = 0; refreshes_now = 0; words_now = 0;
    violations = 0; codes = 0; late = 0; refreshes = 0; words = 0;
    for (i = 0; i < BANKS; i = i + 1) begin
      act[i] = 0; pre[i] = 0; written[i] = 0; auto_at[i] = 0; row[i] = 0;
    end
    for (i = 0; i < DEPTH; i = i + 1) out_word[i] = 0;
    for (i = 0; i < GROUPS; i = i + 1) begin
      refreshed[i] = 0; decays[i] = 0; overdue[i] = 0;
    end
    for (i = 0; i < BANKS * ROWS; i = i + 1) seen[i] = 0;
  end

  task wrong(input integer code);
    begin
      if (violations_now < 20) $display("sdram_pins: violation %0d at %0d ps", code, now);
      violations_now = violations_now + 1;
      codes_now[code] = 1'b1;
    end
  endtask

  // The precharge of one bank begins.
  task close(input [BANK_BITS-1:0] which, input [63:0] at);
    begin
      if (open[which]) begin
        if (at < act[which] + TRAS) wrong(4);
        if (at < written[which] + TWR) wrong(7);
        if ((reading || writing) && bank == which) begin  // the burst ends here
          if (!burst_auto) wrong(20);
          reading = 1'b0;
          writing = 1'b0;
        end
        pre[which] = at;
      end
      open[which] = 1'b0;
      auto[which] = 1'b0;
    end
  endtask

  // Whether the group of rows is still what it was.
  task judge(input [REF_BITS-1:0] which);
    begin
      if (ready && !self && !overdue[which] && now > base + RETENTION * 64'd1000000
          && now > refreshed[which] + RETENTION * 64'd1000000) begin
        overdue[which] = 1'b1;
        decays[which] = decays[which] + 1;
        late_now = late_now + 1;
        wrong(19);
      end
    end
  endtask

  // Of commands that need all banks closed and at rest.
  task need_rest;
    begin
      all_closed = open == 0;
      if (!all_closed) wrong(12);
      for (i = 0; i < BANKS; i = i + 1) begin
        if (pre[i] != 0 && now < pre[i] + TRP) wrong(3);
        if (act[i] != 0 && now < act[i] + TRC) wrong(5);
      end
    end
  endtask

  task activate;
    begin
      if (!ready) wrong(1);
      if (open[ba]) wrong(10);
      if (pre[ba] != 0 && now < pre[ba] + TRP) wrong(3);
      if (act[ba] != 0 && now < act[ba] + TRC) wrong(5);
      if (act_any != 0 && now < act_any + TRRD) wrong(6);
      open[ba] = 1'b1;
      row[ba] = a[ROW_BITS-1:0];
      act[ba] = now;
      act_any = now;
      group = a[ROW_BITS-1 -: REF_BITS];
      judge(group);
      place = {{(32-BANK_BITS){1'b0}}, ba} * ROWS + {{(32-ROW_BITS){1'b0}}, row[ba]};
      if (seen[place] != decays[group]) begin
        for (i = 0; i < COLUMNS; i = i + 1) begin
          noise = noise * 32'h915f77f5 + 32'h1;
          noise_wide = {noise, noise ^ 32'h5a5a5a5a};
          store[place * COLUMNS + i] = store[place * COLUMNS + i] ^ noise_wide[63 -: WIDTH];
        end
        seen[place] = decays[group];
      end
    end
  endtask

  task access(input write);
    begin
      if (!ready) wrong(1);
      if (!open[ba] || auto[ba]) wrong(11);
      else if (now < act[ba] + TRCD) wrong(2);
      if (reading || writing) wrong(20);
      reading = !write;
      writing = write;
      bank = ba;
      burst_auto = a[10];
      start = take_column(a);
      done = 0;
      if (a[10]) begin
        auto[ba] = 1'b1;
        // A read closes its row with the clock behind its last word, counted from the command; a
        // write as soon as the last word is restored.
        auto_at[ba] = write ? now + (burst - 1) * TCK + TWR : now + burst * TCK;
      end
    end
  endtask

  function [COLUMN_BITS-1:0] take_column(input [ADDRESS_BITS-1:0] pins);
    reg [31:0] wide;
    begin
      wide = {{(32-ADDRESS_BITS){1'b0}}, pins};
      wide = (wide & 32'h3ff) | ((wide >> 1) & ~32'h3ff);
      take_column = wide[COLUMN_BITS-1:0];
    end
  endfunction

  task set_mode;
    begin
      need_rest;
      if (!stable || !closed_once) wrong(1);
      if (ba != 0 || a[3] || a[2:0] > 3 || a[9:7] != 0 || (a[6:4] != 2 && a[6:4] != 3)) wrong(13);
      burst = 4'd1 << a[1:0];
      latency = a[6:4];
      if (TCK < (latency == 2 ? TCK2 : TCK3)) wrong(22);
      if (init_refreshes < INIT_REFRESHES) wrong(1);
      if (!ready) base = now;
      ready = 1'b1;
      mode_clocks = 0;
    end
  endtask

  task refresh;
    begin
      need_rest;
      if (!closed_once) wrong(1);
      if (init_refreshes != 8'hff) init_refreshes = init_refreshes + 1;
      judge(turn);
      refreshed[turn] = now;
      overdue[turn] = 1'b0;
      turn = turn + 1;
      busy = now + TRFC;
      refreshes_now = refreshes_now + 1;
    end
  endtask

  always @(posedge clk) begin
    now = now + TCK;
    mode_clocks = mode_clocks + (mode_clocks != 1000);
    noise = noise * 32'h915f77f5 + 32'h1;
    judge(scan);
    scan = scan + 1;
    for (i = 0; i < BANKS; i = i + 1)
      if (auto[i] && now >= auto_at[i]) close(i[BANK_BITS-1:0], auto_at[i]);

    // Commands.
    idle = cs_n | (ras_n & cas_n & we_n);
    taken = 1'b0;
    if (self) begin
      if (cke) begin
        if (now < slept + TRAS) wrong(18);
        if (!idle) wrong(17);
        self = 1'b0;
        base = now;
        for (i = 0; i < GROUPS; i = i + 1) overdue[i] = 1'b0;
        busy = now + TXSR;
      end
    end else if (!cke) begin
      if (!cs_n && !ras_n && !cas_n && we_n && awake) begin
        need_rest;
        if (now < busy) wrong(8);
        if (!ready) wrong(1);
        self = 1'b1;
        slept = now;
      end else if (stable) wrong(17);
    end else if (!idle) begin
      if (now < TPOWER) wrong(0);
      else stable = 1'b1;
      if (now < busy) wrong(8);
      if (mode_clocks < TMRD) wrong(9);
      case ({ras_n, cas_n, we_n})
        3'b011: activate;
        3'b101: begin taken = 1'b1; access(1'b0); end
        3'b100: begin taken = 1'b1; access(1'b1); end
        3'b010: begin
          for (b = 0; b < BANKS; b = b + 1)
            if (a[10] || b[BANK_BITS-1:0] == ba) close(b[BANK_BITS-1:0], now);
          if (a[10]) closed_once = 1'b1;
        end
        3'b001: refresh;
        3'b000: set_mode;
        default: wrong(21);
      endcase
    end
    awake = cke;

    // The bus in the clock that ends here.
    if (dq_oe && (driving || drove)) wrong(14);
    drove = driving;
    if (writing && !dq_oe) wrong(15);
    if (!writing && dq_oe) wrong(16);

    // Words. Bursts wrap within their length.
    out_valid = out_valid >> 1;
    for (i = 0; i < DEPTH - 1; i = i + 1) out_word[i] = out_word[i + 1];
    if (reading || writing) begin
      column = (start & ~(burst - 1)) | ((start + done) & (burst - 1));
      place = ({{(32-BANK_BITS){1'b0}}, bank} * ROWS + {{(32-ROW_BITS){1'b0}}, row[bank]}) * COLUMNS
              + {{(32-COLUMN_BITS){1'b0}}, column};
      if (reading) begin
        out_valid[latency - 1] = 1'b1;
        out_word[latency - 1] = store[place];
      end else begin
        for (i = 0; i < BYTES; i = i + 1)
          if (!(MASK != 0 && dqm[i]))
            store[place][8*i +: 8] = dq_oe ? dq_i[8*i +: 8] : noise[8 +: 8];
        written[bank] = now;
      end
      words_now = words_now + 1;
      done = done + 1;
      if (done == burst) begin
        reading = 1'b0;
        writing = 1'b0;
      end
    end

    // Entry 0 is on the pins until the next edge but for bytes that DQM took away two edges before
    // the one that samples them.
    driving = out_valid[0];
    noise_wide = {noise, noise ^ (noise << 7)};
    far_word <= near_word;
    near_word <= noise_wide[63 -: WIDTH];
    if (driving)
      for (i = 0; i < BYTES; i = i + 1)
        if (!(MASK != 0 && dqm_before[i])) near_word[8*i +: 8] <= out_word[0][8*i +: 8];
    dqm_before = dqm;

    violations <= violations_now;
    codes <= codes_now;
    late <= late_now;
    refreshes <= refreshes_now;
    words <= words_now;
  end
endmodule
