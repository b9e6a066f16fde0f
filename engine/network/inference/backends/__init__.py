"""The interface of a backend, and the backends that are torch alone."""
