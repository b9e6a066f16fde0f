"""What is asked of the operating system: files, signals, processes."""
