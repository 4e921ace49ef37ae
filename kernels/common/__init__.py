"""What the Numba kernels share: compilation, explicit vectors, the parallel loop."""
