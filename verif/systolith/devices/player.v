// Testbench around @{top}: plays a script of transactions and logs every transfer.
// What each operation does, and in which cycle, is told in systolith.devices.player.

`timescale 1ns/1ns

module bench;
  // The control panel: the only signals that whoever runs the bench looks at or writes.
  reg [31:0] halts    /*verilator public_flat_rw*/;
  reg [31:0] releases /*verilator public_flat_rw*/;
  reg [31:0] reason   /*verilator public_flat_rw*/;
  reg [31:0] cycle    /*verilator public_flat_rw*/;
  reg [31:0] op_index /*verilator public_flat_rw*/;

  // Files are named by plusargs relative to the working directory, hence short.
  reg [8*256-1:0] script_name, log_name;
  integer script, log;
  reg [31:0] deadline;

  // The operation in progress. Like the control panel, these change inside `play` only.
  integer code, stream, fields;
  reg [@{width}-1:0] value;
  reg [31:0] left, stalled, reset_left;
  reg started, done, progress;
  reg [31:0] counts [0:@{outputs}-1];
  integer index;

  // What the design sees. These change after the clock edge.
  reg clk, rst;
  reg [@{inputs}-1:0] offer;
  reg [@{width}-1:0] payload;
  reg [31:0] allow [0:@{outputs}-1];
  wire [@{inputs}-1:0] accepted;
  reg [4:0] phase;

@{wires}

@{drives}

  @{top} dut (
@{connections}
  );

  initial begin
    clk = 1'b0;
    rst = 1'b1;
    offer = 0;
    payload = 0;
    phase = 0;
    cycle = 0;
    op_index = 32'hffffffff;
    reason = @{halt_start};
    halts = 1;
    releases = 0;
    started = 1'b0;
    code = @{op_mark};
    stream = 0;
    value = 0;
    left = 0;
    stalled = 0;
    reset_left = @{reset_cycles};
    for (index = 0; index < @{outputs}; index = index + 1) begin
      counts[index] = 0;
      allow[index] = 32'hffffffff;
    end
    if (!$value$plusargs("script=%s", script_name)) script_name = "script.txt";
    if (!$value$plusargs("log=%s", log_name)) log_name = "log.txt";
    if (!$value$plusargs("deadline=%d", deadline)) deadline = 10000;
    script = $fopen(script_name, "r");
    log = $fopen(log_name, "w");
`ifdef __ICARUS__
    if ($value$plusargs("waves=%s", script_name)) begin
      $dumpfile(script_name);
      $dumpvars(0, bench);
    end
`endif
  end

  always #5 clk = ~clk;

  task halt(input [31:0] why);
    begin
      $fflush(log);
      // A watcher wakes as soon as `halts` changes: everything else must be in place by then.
      reason = why;
      halts <= halts + 1;
    end
  endtask

  // Read operations until one needs a cycle.
  task fetch;
    begin
      offer <= 0;
      done = 1'b1;
      while (done) begin
        fields = $fscanf(script, "%d %d %h\n", code, stream, value);
        op_index = op_index + 1;
        stalled = 0;
        done = 1'b0;
        if (fields != 3) begin
          code = @{op_end};
          halt(@{halt_bad_script});
        end else case (code)
          @{op_send}: begin
            offer[stream] <= 1'b1;
            payload <= value;
          end
          @{op_wait}: done = counts[stream] >= value[31:0];
          @{op_idle}: begin
            left = value[31:0];
            done = left == 0;
          end
          @{op_reset}: begin
            left = value[31:0];
            done = left == 0;
            rst <= !done;
          end
          @{op_ready}: begin
            allow[stream] <= value[31:0];
            done = 1'b1;
          end
          @{op_mark}: halt(@{halt_mark});
          @{op_end}: halt(@{halt_end});
          default: begin
            code = @{op_end};
            halt(@{halt_bad_script});
          end
        endcase
      end
    end
  endtask

  always @(posedge clk) begin : play
    if (!started) begin
      // Reset until cycle 0, once released.
      if (releases == halts) begin
        reset_left = reset_left - 1;
        if (reset_left == 0) begin
          started = 1'b1;
          rst <= 1'b0;
          fetch;
        end
      end
    end else begin
      progress = 1'b0;
      if (!rst) begin
@{log_transfers}
      end

      cycle = cycle + 1;
      phase <= phase + 1;

      case (code)
        @{op_send}: done = accepted != 0;
        @{op_wait}: done = counts[stream] >= value[31:0];
        @{op_idle}, @{op_reset}: begin
          left = left - 1;
          done = left == 0;
          progress = 1'b1;
        end
        @{op_mark}: begin
          done = releases == halts;
          progress = 1'b1;
        end
        default: begin
          done = 1'b0;
          progress = 1'b1;
        end
      endcase

      if (progress) stalled = 0;
      else stalled = stalled + 1;

      if (done) begin
        rst <= 1'b0;
        fetch;
      end else if (stalled >= deadline) begin
        code = @{op_end};
        offer <= 0;
        halt(@{halt_timeout});
      end
    end
  end
endmodule
