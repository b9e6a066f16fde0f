"""Inference by OpenVINO."""
