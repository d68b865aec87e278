"""SE blocks of any network, ours and anybody's: found, and their gates recorded."""
