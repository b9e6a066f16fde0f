"""What a command shows on a terminal or in a log while it works."""
