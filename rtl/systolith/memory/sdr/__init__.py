"""SDR SDRAM: from the boundary of the memory controller to the pins, and ECC within the memory."""
