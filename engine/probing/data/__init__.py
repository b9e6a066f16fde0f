"""Which positions are probed, which of them are the same, and how they are split."""
