"""What a container is: its config, its state, the order of its steps. Raises; never prints."""
