"""What the commands draw: each file has its SIZE, numbers() and draw()."""
