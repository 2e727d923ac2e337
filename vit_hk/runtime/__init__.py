"""The machine: its devices, how a batch is laid out over them, and its memory."""
