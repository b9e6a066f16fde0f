"""The learner: networks, losses, optimiser."""
