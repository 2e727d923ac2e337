"""The machine: its devices, the layout of a batch over them, and its memory."""
