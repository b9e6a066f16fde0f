"""Second opinions about concepts, and boards for tests of them."""
