"""One thin Kubeflow component for each stage. They map artifact paths onto one call of `linnet.tasks`, no more.

What a cluster needs to know beside that (GPUs, memory, secrets) is in `pipelines/resources.py`.
"""
