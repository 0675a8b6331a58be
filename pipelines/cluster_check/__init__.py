"""What a cluster has of what a training run needs, asked before anything is spent; nothing there is changed."""
