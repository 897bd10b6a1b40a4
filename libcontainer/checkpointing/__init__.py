"""Checkpoint and restore, by the host's criu(8).

protocol   the messages that criu understands: protocol buffers
criu       the program: started, asked, its log quoted
external   what is not in an image: bind mounts, devices, masks, joined namespaces
dump       `runc checkpoint`
restore    `runc restore`
"""
