"""One thin Kubeflow component for each stage. They map artifact paths onto one call of `linnet.tasks`, no more.

The `Args:` and `Returns:` of their docstrings are the descriptions that the KFP UI shows. What a cluster needs to know
beside that (GPUs, memory, secrets) is a profile in `pipelines/clusters/`.
"""
