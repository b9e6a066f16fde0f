"""As scripts/commands."""
