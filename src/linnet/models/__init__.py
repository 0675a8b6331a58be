"""Denoising networks, one architecture a file, and what conditions them.

A new network is a file here, its class in recipe/model.py, and one `case` in build.py.
"""
