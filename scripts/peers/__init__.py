"""Small, plain implementations of MAML in PyTorch and JAX, which `scripts.benchmark --peers` measures."""
