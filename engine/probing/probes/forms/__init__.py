"""Forms of probes beyond the linear one, and which of them a concept needs."""
