"""Hand-written AVX-512 kernels, behind `backend.py`."""
