"""Vision tower: image -> pixels -> image features."""
