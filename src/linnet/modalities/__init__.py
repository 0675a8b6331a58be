"""All that differs between images and audio."""
