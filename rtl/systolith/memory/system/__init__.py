"""A memory controller with its buses, registers and start-up: what is emitted as a product."""
