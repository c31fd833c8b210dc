"""What the commands draw: each picture is a `style.Picture`."""
