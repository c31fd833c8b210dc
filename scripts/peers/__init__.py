"""MAML in PyTorch and in JAX, small and plain, which `scripts.benchmark --peers` compares this project with."""
