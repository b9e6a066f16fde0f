"""A network as an evaluator: backends, their parity, quantisation, export."""
