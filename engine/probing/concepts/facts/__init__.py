"""What concepts of several families share: found once for all positions, in compiled kernels."""
