"""What several test modules share: the real model on meta, what a counter sees in it, and its names as ours."""
