"""Versions of a model in the MLflow registry, and the gate that promotes them."""
