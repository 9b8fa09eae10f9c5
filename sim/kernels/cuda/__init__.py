"""CUDA twins of the kernels: one replicate a block of threads, items across its threads.

Imported only when ``device="cuda"`` is asked for. Mathematics and generator are those of
``sim.kernels``; what is a loop over items there is a loop over threads here.
"""
