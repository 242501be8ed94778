"""The way from a computer to the engine on a board: serial protocol, bridge, shell, driver."""
