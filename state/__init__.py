"""Windowed tables over NumPy arrays with numba kernels. Knows no other room."""
