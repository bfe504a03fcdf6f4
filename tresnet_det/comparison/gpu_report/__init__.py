"""What TResNet does on a GPU, measured by one command.

``subjects`` says what is measured, ``parity`` compares a device with the CPU,
``speed`` times, ``room`` finds what fits and what waits, ``report`` writes it all
down. torch is enough for the backbones: nothing here imports mm* unless it is there.
"""
