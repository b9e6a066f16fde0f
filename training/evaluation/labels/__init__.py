"""What concepts of search and of exact results are labelled from."""
