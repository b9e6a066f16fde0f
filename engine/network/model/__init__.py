"""The networks: configuration, backbone, trunks, heads, hook points, transfer of weights."""
