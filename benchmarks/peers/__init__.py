"""What others do: one file a peer, each as fast as we know how to write it."""
