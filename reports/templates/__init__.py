"""The pages that reports are laid out in."""
