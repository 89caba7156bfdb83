"""What every part of fieldgate shares: standard library only, no sockets."""
