"""Inference by kernels for AVX-512, written by hand."""
