"""Face restoration after txt2img and img2img."""
