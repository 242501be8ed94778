"""DMA engine: moves atoms between large memory and scratchpads, by descriptors."""
