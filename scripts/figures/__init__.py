"""The pictures that the commands draw, and the numbers that they show."""
