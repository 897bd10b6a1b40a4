"""What Linux offers, one module per area of the kernel: no OCI word and no policy in here."""
