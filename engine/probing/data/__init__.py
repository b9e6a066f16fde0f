"""Which positions are probed, and how they are split."""
