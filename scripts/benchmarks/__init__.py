"""What `pawnscope bench` measures: one module a group of figures."""
