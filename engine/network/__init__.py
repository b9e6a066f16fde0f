"""The shared backbone, trunks and heads, their checkpoints and how they are evaluated."""
