"""The capture doctor: are these photos enough, and what to shoot next."""
