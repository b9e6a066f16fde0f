"""Results as cells, JSON and a page."""
